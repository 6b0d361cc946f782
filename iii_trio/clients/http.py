"""The outbound HTTP client: checked addresses, bounded connections and answers (wire-protocol 6.2, ADR 15).

Import this file where it is used: httpcore2 takes some 70 ms to load. Nothing here follows redirects, keeps cookies, undoes
compression or heeds proxies of the environment. Deadlines are the caller's cancel scopes.
"""

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final

import attrs
import httpcore2
import trio

from ._backend import SCHEMES, Backend, Origin, Origins, Tls, text_of
from .exchange import HttpLimits, HttpRequest, RequestFailed, ResponseFailed
from .outbound import Outbound

_FAILURES: Final = (httpcore2.NetworkError, httpcore2.ProtocolError)


@attrs.define(eq=False)
class HttpResponse:
    """The head of an answer. Its body is read inside the block of `HttpClient.send`."""

    status: int
    _client: "HttpClient"
    _chunks: Any = attrs.field(repr=False)
    _held: int = 0

    async def read(self) -> bytes:
        """The whole body. Raises ResponseFailed."""
        parts: list[bytes] = []
        try:
            async with aclosing(aiter(self._chunks)) as chunks:
                async for chunk in chunks:
                    self._hold(len(chunk))
                    parts.append(chunk)
        except _FAILURES as error:
            raise ResponseFailed(f"reading the answer failed: {text_of(error)}") from error
        return b"".join(parts)

    def _hold(self, size: int) -> None:
        limits = self._client.limits
        self._held += size
        self._client.held += size
        if self._held > limits.answer:
            raise ResponseFailed(f"the answer has more than {limits.answer} bytes")
        if self._client.held > limits.answers:
            raise ResponseFailed(f"more than {limits.answers} bytes of answers are being read")

    def let_go(self) -> None:
        """Count the body's bytes as no longer held."""
        self._client.held -= self._held
        self._held = 0


@attrs.frozen
class HttpStatistics:
    """What a client is doing: requests that hold a place, origins with requests under way, bytes of bodies held."""

    in_use: int
    origins: int
    held: int


@attrs.define(eq=False, repr=False)
class HttpClient:
    """Sends requests over pooled connections, each of which serves one origin only.

    Args:
      outbound: resolves and connects.
      limits: of connections and answers.
      make_tls: makes the TLS settings, in a thread, when the first https connection needs them. The default verifies
        with the system's authorities, or those `SSL_CERT_FILE` or `SSL_CERT_DIR` name.
    """

    outbound: Outbound
    limits: HttpLimits = attrs.field(factory=HttpLimits)
    make_tls: Callable[[], ssl.SSLContext] = httpcore2.default_ssl_context
    held: int = attrs.field(default=0, init=False)
    _origins: Origins = attrs.field(factory=dict, init=False)
    _users: Counter[tuple[str, str, int]] = attrs.field(factory=Counter, init=False)
    _slots: trio.Semaphore = attrs.field(init=False)
    _pool: httpcore2.AsyncConnectionPool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._slots = trio.Semaphore(self.limits.connections)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # never used: the backend takes the client's own
            max_connections=self.limits.connections,
            max_keepalive_connections=self.limits.idle,
            keepalive_expiry=self.limits.idle_seconds,
            network_backend=Backend(self.outbound, self._origins, Tls(self.make_tls)),
        )

    @asynccontextmanager
    async def send(self, request: HttpRequest) -> AsyncIterator[HttpResponse]:
        """Send a request; the block begins with the head of the answer. Raises RequestFailed.

        What of the body the block has not read costs the connection. Cancelled: the connection is closed.
        """
        with self._origin(request) as origin:
            async with origin.slots, self._slots:
                answer = await self._send(request)
                response = HttpResponse(answer.status, self, answer.stream)
                try:
                    yield response
                finally:
                    response.let_go()
                    await answer.aclose()

    async def _send(self, request: HttpRequest) -> httpcore2.Response:
        url = request.url
        if url.scheme not in SCHEMES:
            raise RequestFailed(f"the scheme {url.scheme} cannot be called, only http and https")
        target = httpcore2.URL(
            scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode()
        )
        raw = httpcore2.Request(request.method, target, headers=request.headers, content=request.body)
        try:
            return await self._pool.handle_async_request(raw)
        except _FAILURES as error:
            raise RequestFailed(text_of(error)) from error

    @contextmanager
    def _origin(self, request: HttpRequest) -> Iterator[Origin]:
        key = request.url.scheme, request.url.host, request.url.port
        origin = self._origins.setdefault(key, Origin(trio.Semaphore(self.limits.per_origin)))
        origin.addresses = request.addresses
        self._users[key] += 1
        try:
            yield origin
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._origins[key]

    def statistics(self) -> HttpStatistics:
        """Counts, for monitoring and leak tests."""
        return HttpStatistics(self.limits.connections - self._slots.value, len(self._origins), self.held)

    async def aclose(self) -> None:
        """Close every connection; what is under way fails."""
        await self._pool.aclose()
