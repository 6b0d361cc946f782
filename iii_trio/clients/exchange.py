"""What the outbound HTTP client takes and raises; light to import, unlike the client."""

from collections.abc import Sequence

import attrs

from iii_trio.protocol.errors import IIIError

from .urls import Url

Headers = Sequence[tuple[bytes, bytes]]


class RequestFailed(IIIError):
    """There is no answer: no connection, no TLS, an invalid request, or the peer left or broke HTTP before the head."""


class ResponseFailed(IIIError):
    """The body of the answer broke off, breaks HTTP, or is larger than the limits allow."""


@attrs.frozen
class HttpLimits:
    """Bounds of one client. Requests over the first two wait for a place, for as long as their caller waits."""

    connections: int = 256
    per_origin: int = 64
    """Connections to one scheme, host and port: a slow endpoint leaves places for the others."""

    idle: int = 64
    idle_seconds: float = 4.0
    """How long a connection is kept for the next request: less than the 5 s after which common servers close theirs."""

    answer: int = 16 * 1024 * 1024
    """Bytes of one body."""

    answers: int = 256 * 1024 * 1024
    """Bytes of all bodies that are held at one moment."""


@attrs.frozen
class HttpRequest:
    """One request. `addresses` were checked by the caller and are connected to; without them the host is looked up."""

    method: str
    url: Url
    headers: Headers = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    addresses: tuple[str, ...] | None = None
