"""Cross-origin headers (http.md 12)."""

import re
from typing import Final

import attrs

from .config import TOKEN, CorsConfig
from .seam import Headers, Response

_ORIGIN: Final = b"access-control-allow-origin"
_EXPOSE: Final = b"access-control-expose-headers"
_GRANTS: Final = frozenset({_ORIGIN, _EXPOSE})
_OPEN: Final = ((_ORIGIN, b"*"), (_EXPOSE, b"*"))
_VARY: Final = (b"vary", b"origin, access-control-request-method, access-control-request-headers")
_VISIBLE: Final = re.compile(r"[\x20-\x7e]+")


@attrs.frozen
class CorsPolicy:
    """Which headers an answer gets for an origin. It refuses nothing: browsers do."""

    _open: bool = True
    _origins: frozenset[bytes] = frozenset()
    _methods: bytes = b"*"

    @classmethod
    def of(cls, config: CorsConfig | None) -> "CorsPolicy":
        """The policy of a configuration; without one everything is allowed. Entries that no header can carry are dropped."""
        if config is None:
            return cls()
        origins = () if "*" in config.allowed_origins else config.allowed_origins
        legal = frozenset(origin.encode() for origin in origins if _VISIBLE.fullmatch(origin))
        methods = [method for method in config.allowed_methods if TOKEN.fullmatch(method)]
        return cls(
            open=False, origins=legal if origins else frozenset({b"*"}), methods=",".join(methods).encode() or b"*"
        )

    def apply(self, response: Response, origin: bytes | None) -> Response:
        """The response with the engine's headers in the place of the handler's same ones."""
        ours = _OPEN if self._open else self._origin(origin)
        kept = [
            field for field in response.headers if field[0] not in _GRANTS or all(field[0] != name for name, _ in ours)
        ]
        return attrs.evolve(response, headers=(*kept, *ours, _VARY))

    def preflight(self, origin: bytes | None, allowed: list[str]) -> Response:
        """The answer to every OPTIONS request; `allowed` are the methods the path has."""
        allow: Headers = [(b"allow", ", ".join(allowed).encode())] if allowed else []
        grants = [(b"access-control-allow-methods", self._methods), (b"access-control-allow-headers", b"*")]
        return Response(200, (*self._origin(origin), *grants, *allow, _VARY))

    def _origin(self, origin: bytes | None) -> Headers:
        if self._open or b"*" in self._origins:
            return [(_ORIGIN, b"*")]
        return [(_ORIGIN, origin)] if origin is not None and origin in self._origins else []
