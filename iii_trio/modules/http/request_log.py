"""What the log may say of a request at DEBUG: no value of a query or of a header that may hold a secret (http.md 15.2)."""

import logging
from typing import Final

from iii_trio.kernel.labels import shown

from .request import decode_query
from .routes import Route
from .seam import Request

_log = logging.getLogger("iii_trio.http")
_REDACTED: Final = "[REDACTED]"
_SECRET: Final = frozenset(
    {
        "authorization",
        "baggage",
        "cookie",
        "set-cookie",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "x-access-token",
        "x-secret",
        "x-csrf-token",
        "proxy-authorization",
    }
)


def log_request(request: Request, route: Route, *, trust_proxy: bool) -> None:
    """Write one line at DEBUG; costs nothing at other levels."""
    if not _log.isEnabledFor(logging.DEBUG):
        return
    _log.debug(
        "%s %s matched %s, from %s, query keys %s, headers %s",
        shown(request.method),
        shown(request.path.decode("latin-1")),
        shown(route.path),
        shown(_client(request, trust_proxy=trust_proxy)),
        [shown(key) for key in decode_query(request.query)],
        {shown(name.decode("latin-1")): _value(name, value) for name, value in request.headers},
    )


def _value(name: bytes, value: bytes) -> str:
    if name.decode("latin-1") in _SECRET:
        return _REDACTED
    return shown(value.decode()) if value.isascii() else "[non-utf8]"


def _client(request: Request, *, trust_proxy: bool) -> str:
    """The peer, or whom a proxy that is to be trusted names first."""
    if trust_proxy:
        for name, value in request.headers:
            if name == b"x-forwarded-for":
                return value.decode("latin-1").partition(",")[0].strip()
    return request.client
