"""The block of the http module in the configuration file (http.md 2)."""

import re
from typing import Any, Final, Literal

import attrs

TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
"""The name of a method or of a header (RFC 9110, 5.6.2)."""

PHASE: Final = "preHandler"
"""When middleware runs. There are names for other moments, at which nothing does."""

HARD_BODY_LIMIT: Final = 64 << 20
"""Bytes of a request body that is held in memory at most, with or without `body_limit`."""


@attrs.frozen
class CorsConfig:
    """Which browsers' pages may read the answers (http.md 12)."""

    allowed_origins: tuple[str, ...] = attrs.field(
        default=(),
        metadata={"doc": "Origins that may read answers, compared whole. Empty, or with `*` among them: any origin."},
    )
    allowed_methods: tuple[str, ...] = attrs.field(
        default=(), metadata={"doc": "Methods a preflight answer allows, sent as they stand here. Empty: any method."}
    )


@attrs.frozen
class MiddlewareConfig:
    """A function asked before the handler of every route (http.md 10)."""

    function_id: str = attrs.field(
        metadata={"doc": "The function to call; it is looked up for each request, in the namespace of its route."}
    )
    phase: str = attrs.field(
        default=PHASE, metadata={"doc": "When it is called. Entries with any phase but `preHandler` do not run."}
    )
    priority: int = attrs.field(
        default=0, metadata={"doc": "Lower ones are called first; equal ones in the order of the list."}
    )


@attrs.frozen
class TlsConfig:
    """Whom browsers and clients are to believe they speak to."""

    cert_file: str = attrs.field(metadata={"doc": "Certificate chain in PEM form, the server's own certificate first."})
    key_file: str = attrs.field(metadata={"doc": "Private key of the certificate in PEM form, without a passphrase."})


def _spoken(config: Any, _: object, tls: TlsConfig | None) -> None:
    if tls is not None and config.server != "hypercorn":
        raise ValueError(
            f"`tls` needs `server: hypercorn`: the server `{config.server}` speaks plain HTTP only; "
            "set the key, or put a reverse proxy in front"
        )


def _token(_: object, __: "attrs.Attribute[Any]", name: str | None) -> None:
    if name is not None and not TOKEN.fullmatch(name):
        raise ValueError(f"`request_id_header` must be the name of a header, not {name!r:.60}")


@attrs.frozen
class HttpConfig:
    """The HTTP server and its limits."""

    port: int = attrs.field(
        default=3111, metadata={"doc": "TCP port; 0 takes a free one, which is logged.", "minimum": 0, "maximum": 65535}
    )
    host: str = attrs.field(
        default="0.0.0.0",  # noqa: S104  # as the specification says; without a file the engine binds 127.0.0.1
        metadata={"doc": "Interface or host name to bind; IPv6 with or without brackets."},
    )
    default_timeout: int = attrs.field(
        default=30_000,
        metadata={"doc": "Milliseconds from routing to the head of the answer; then 504.", "minimum": 0},
    )
    concurrency_request_limit: int = attrs.field(
        default=1024,
        metadata={
            "doc": "Requests in progress at once; more wait in order of arrival. 0 means 1.",
            "minimum": 0,
            "schema": {"minimum": 1},
        },
    )
    cors: CorsConfig | None = attrs.field(
        default=None, metadata={"doc": "Cross-origin rules. Absent: everything is allowed."}
    )
    middleware: tuple[MiddlewareConfig, ...] = attrs.field(
        default=(), metadata={"doc": "Functions asked before every handler, which may answer in its place."}
    )
    body_limit: int | None = attrs.field(
        default=None,
        metadata={
            "doc": "Bytes of a request body; more answers 413. Absent: no limit, but a JSON body of more than 64 MiB answers 413.",
            "minimum": 0,
        },
    )
    trust_proxy: bool = attrs.field(
        default=False,
        metadata={
            "doc": "Name the client in the log as `x-forwarded-for` does. Set it behind a proxy of your own only."
        },
    )
    request_id_header: str | None = attrs.field(
        default=None,
        validator=_token,
        metadata={
            "doc": "Header that names a request, `x-request-id` say. Functions get one made here if the client sent none; "
            "the answer repeats it. Absent: requests have no id.",
            "schema": {"pattern": f"^{TOKEN.pattern}$"},
        },
    )
    ignore_trailing_slash: bool = attrs.field(
        default=False,
        metadata={"doc": "Let `/a/` reach the route `/a`, and the other way round, where there is none of its own."},
    )
    not_found_function: str | None = attrs.field(
        default=None,
        metadata={
            "doc": "Function that answers requests to paths without a route; its status is 404 unless it gives one."
        },
    )
    openapi: bool = attrs.field(
        default=False,
        metadata={
            "doc": "Describe all routes at `/openapi.json`, as OpenAPI 3.1, to everybody who can reach the port."
        },
    )
    server: Literal["fast", "hypercorn"] = attrs.field(
        default="fast",
        metadata={"doc": "What speaks HTTP: `fast`, the engine's own, or `hypercorn`, slower, with TLS and HTTP/2."},
    )
    tls: TlsConfig | None = attrs.field(
        default=None,
        validator=_spoken,
        metadata={"doc": "Serve HTTPS, and HTTP/2 to clients that ask for it. Needs `server: hypercorn`."},
    )

    @property
    def timeout(self) -> float:
        """`default_timeout` in seconds."""
        return self.default_timeout / 1000

    @property
    def body_in_memory(self) -> int:
        """Bytes of a body that may be read into memory."""
        return HARD_BODY_LIMIT if self.body_limit is None else min(self.body_limit, HARD_BODY_LIMIT)

    @property
    def middleware_ids(self) -> tuple[str, ...]:
        """The functions to ask, in their order."""
        running = [entry for entry in self.middleware if entry.phase == PHASE]
        return tuple(entry.function_id for entry in sorted(running, key=lambda entry: entry.priority))

    @property
    def slots(self) -> int:
        """How many requests may be in progress."""
        return max(1, self.concurrency_request_limit)
