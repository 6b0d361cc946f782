"""The seam between the http module and whatever speaks HTTP on a socket: requests in, responses out."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import attrs
import trio

from iii_trio.kernel.runners import Source
from iii_trio.protocol.errors import IIIError

Headers = Sequence[tuple[bytes, bytes]]
"""Header fields in their order; names in lower case."""

Listeners = Sequence[trio.abc.Listener[trio.abc.Stream]]


class BodyLimitError(IIIError):
    """The request body has more bytes than the reader takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request body has more than {limit} bytes")
        self.limit = limit


class StreamBroken(IIIError):
    """The writer of a streamed body died before it had finished; the answer cannot be completed."""


@attrs.frozen(eq=False)
class Request:
    """A request whose head is in and whose body may still be on its way.

    `path` and `query` are the bytes of the target, without the `?` and not decoded. `receive` waits for the next piece of
    the body and returns it, empty at the end; what is not received is discarded by the server. It may be called by
    another task than the handler's, one at a time, until the answer is complete; it may raise one of
    `iii_trio.sockets.BROKEN` when the client goes away. The handler is cancelled then.
    """

    method: str
    path: bytes
    query: bytes
    headers: Headers
    receive: Callable[[], Awaitable[bytes]] = attrs.field(repr=False)
    http_version: str = "1.1"
    client: str = ""
    """The address of the client, or of the last proxy on its way."""

    @property
    def declared_length(self) -> int | None:
        """The body's size as the client announces it, None without `content-length`."""
        return next((int(value) for name, value in self.headers if name == b"content-length"), None)

    @property
    def origin(self) -> bytes | None:
        """The value of `origin`, None without it."""
        return next((value for name, value in self.headers if name == b"origin"), None)

    async def read_body(self, limit: int) -> bytes:
        """Wait for the whole body. Raises BodyLimitError as soon as more than `limit` bytes are announced or there."""
        if (self.declared_length or 0) > limit:
            raise BodyLimitError(limit)
        pieces: list[bytes] = []
        left = limit
        while piece := await self.receive():
            left -= len(piece)
            if left < 0:
                raise BodyLimitError(limit)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def nothing_to_release() -> None:
    """What there is to release of an answer that is whole."""


@attrs.frozen
class Response:
    """An answer. The server adds `date` and the framing; `close` ends the connection after it.

    With `stream` the body comes in pieces, each sent at once: `body` with the head, then what `stream` returns, empty at
    the end. The server uses chunked framing (on HTTP/1.0 the end of the connection) unless `headers` has a `content-length`. It is
    cancelled when the client goes away. It raises StreamBroken if its writer died before finishing; then the server
    cuts the connection, so that the client can tell. The head is sent before the first call. `release` is called once
    when the server is done with `stream`, however that came; it does not wait.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""
    close: bool = False
    stream: Callable[[], Awaitable[bytes]] | None = attrs.field(default=None, repr=False)
    release: Callable[[], object] = attrs.field(default=nothing_to_release, repr=False)


RequestHandler = Callable[[Request], Awaitable[Response]]
"""Answers one request. Runs in the connection's task, is cancelled with it, and never raises an `Exception`."""


class Client(Protocol):
    """Who has sent a request, for the one who answers it without a task that waits: once, by either method.

    Neither waits, nor raises an `Exception`; any task may call them.
    """

    def answer(self, status: int, headers: Headers, body: bytes, *, close: bool = False) -> None:
        """Send a whole answer; the parameters are those of a Response."""
        ...

    def respond(self, response: Response) -> None:
        """Send any answer."""
        ...


class Pending(Protocol):
    """A request whose answer will come."""

    def expire(self) -> None:
        """Its time is up: the client is answered now."""
        ...

    def abandon(self) -> None:
        """The client has gone; it is not answered any more. Safe to repeat."""
        ...


class Shortcut(Protocol):
    """Answers requests with one and the same head, by fewer steps than the handler."""

    @property
    def is_current(self) -> bool:
        """Whether it may be used still. Once it may not, it never may again."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds a request may take; then the server calls `expire`, soon after."""
        ...

    def take(self, body: bytes, client: Client) -> Pending | None:
        """Begin with a request whose body is there whole. None, and no effect, if the handler has to answer it.

        Never waits, never raises an `Exception`. The client is answered later, never before this returns.
        """
        ...


class Shortcuts(Protocol):
    """Finds shortcuts, and runs what is called through them."""

    def find(self, request: Request) -> Shortcut | None:
        """The shortcut for requests with this head, if there is one."""
        ...

    def fed_by(self, source: Source) -> AbstractContextManager[None]:
        """For the length of a block, have requests collected where functions are run, so that no other task must wake up."""
        ...

    def look(self) -> None:
        """To be called now and then: take up again what was given up because functions could not be run."""
        ...


@attrs.frozen
class ServerLimits:
    """What a server takes from a peer (http.md 13); times in seconds, sizes in bytes."""

    header_fields: int = 100
    head_size: int = 408 * 1024
    target_size: int = 65_534
    connections: int = 16_384
    head_timeout: float = 30.0
    idle_timeout: float = 120.0
    write_timeout: float = 30.0
    drain_timeout: float = 30.0
    linger: float = 2.0


class HttpServer(Protocol):
    """Speaks HTTP on the streams that listeners accept."""

    async def serve(
        self,
        listeners: Listeners,
        handler: RequestHandler,
        *,
        shortcuts: Shortcuts | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and answer until cancelled, or until `request_stop` and the last answer.

        `shortcuts` are for servers that can do without a task that waits for the answer; others leave them.

        `task_status.started()` is called once connections are accepted. The listeners are closed in any case;
        cancellation cuts every connection.
        """
        ...

    def stop_accepting(self) -> None:
        """Close the listeners; open connections go on."""
        ...

    def request_stop(self) -> None:
        """Stop accepting, close idle connections, and let every request that runs have its answer."""
        ...
