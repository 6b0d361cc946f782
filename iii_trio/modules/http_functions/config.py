"""The block of the module in the configuration file (config-cli-modules 1.8)."""

import re
from typing import Any, Final

import attrs

_ANY: Final = "*"


def compile_glob(pattern: str) -> re.Pattern[str]:
    """A shell glob for host names: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`. Raises ValueError naming what is wrong with it."""
    pieces: list[str] = []
    rest = pattern.lower()
    while rest:
        first, rest = rest[0], rest[1:]
        if first == "[":
            piece, rest = _brackets(pattern, rest)
        else:
            piece = {"*": ".*", "?": "."}.get(first) or re.escape(first)
        pieces.append(piece)
    return re.compile("".join(pieces))


def _brackets(pattern: str, rest: str) -> tuple[str, str]:
    negated = rest[:1] in {"!", "^"}
    rest = rest[1:] if negated else rest
    end = rest.find("]", 1)  # as in every shell, a bracket at the beginning stands for itself
    if end < 0:
        raise ValueError(f"bad glob `{pattern}`: `[` without `]`")
    members = re.sub(r"([\\\]\[^&~|])", r"\\\1", rest[:end])
    try:
        return re.compile(f"[{'^' if negated else ''}{members}]").pattern, rest[end + 1 :]
    except re.error as error:
        raise ValueError(f"bad glob `{pattern}`: {error.msg}") from error


def _globs(_: object, __: "attrs.Attribute[Any]", value: tuple[str, ...]) -> None:
    for pattern in value:
        compile_glob(pattern)


@attrs.frozen
class SecurityConfig:
    """Which URLs functions may have; checked when one is registered and before each of its calls."""

    url_allowlist: tuple[str, ...] = attrs.field(
        default=(_ANY,),
        validator=_globs,
        metadata={
            "doc": "Shell globs, of which one must match the host of the URL, and nothing but it. Empty: any host."
        },
    )
    block_private_ips: bool = attrs.field(
        default=True,
        metadata={
            "doc": "Refuse hosts of which any address is not public: loopback, private, link-local, reserved, ..."
        },
    )
    require_https: bool = attrs.field(default=True, metadata={"doc": "Refuse every scheme but https."})

    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """The globs, ready to match."""
        return tuple(map(compile_glob, self.url_allowlist or (_ANY,)))


@attrs.frozen
class HttpFunctionsConfig:
    """Functions that are HTTP endpoints elsewhere."""

    security: SecurityConfig = attrs.field(
        factory=SecurityConfig,
        metadata={"doc": "Which URLs functions may have; the defaults hold with and without it."},
    )
