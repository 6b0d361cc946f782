"""One client's connection of the fast server: request after request in one task."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from iii_trio.sockets import BROKEN, ByteStream, SocketStream

from .answer import CONTINUE, CRASHED, LAST_CHUNK, Dates, Framing, abandon, encode_head, encode_refusal, framing_of
from .fast_body import Body, no_body
from .fast_inbound import Inbound
from .fast_outbound import Outbound
from .head import Head, Refused, read_head
from .seam import Request, RequestHandler, Response, ServerLimits, StreamBroken

_log = logging.getLogger("iii_trio.http")
_NOT_WAITING: Final = math.inf


@attrs.frozen(eq=False)
class Shared:
    """What all connections of a server share."""

    handler: RequestHandler
    limits: ServerLimits
    dates: Dates
    stop: trio.Event


@attrs.define(eq=False)
class FastConnection:
    """Reads a head, runs the handler, writes the answer, and begins again; in the task that accepted the client.

    The deadlines while a request is awaited are kept by the server, which calls `look` regularly: a timer per request
    would cost more than reading its head.
    """

    _stream: ByteStream
    _shared: Shared
    _nursery: trio.Nursery
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _inbound: Inbound = attrs.field(init=False)
    _outbound: Outbound = attrs.field(init=False)
    _due: float = attrs.field(default=_NOT_WAITING, init=False)
    """When waiting for a request has taken too long (Trio's clock)."""

    _turn: int = attrs.field(default=0, init=False)
    _looked_at: int = attrs.field(default=0, init=False)
    _is_answering: bool = attrs.field(default=False, init=False)
    _says_goodbye: bool = attrs.field(default=False, init=False)
    """Whether the client may still be reading a last answer when the connection closes."""

    def __attrs_post_init__(self) -> None:
        self._inbound = Inbound(self._stream, self._client_left)
        self._outbound = Outbound(self._stream, self._shared.limits.write_timeout)

    async def run(self) -> None:
        """Serve until either side closes; never raises an `Exception`. Cancelled, it cuts the connection."""
        try:
            with self._scope:
                await self._converse()
            if self._says_goodbye:
                await self._linger()
        except BROKEN:
            pass  # the client was faster; nobody is left to be answered
        except Exception as error:  # noqa: BLE001  # the connection boundary: its failure is its own
            _log.error("an HTTP connection failed", exc_info=error)
        finally:
            self._stream.close()

    # --- what the server asks for -----------------------------------------------------------------------------------

    def close_if_idle(self) -> None:
        """Close now unless a request is being answered."""
        if self._due != _NOT_WAITING:
            self._scope.cancel(reason="the server stops")

    def limit_last_words(self, deadline: float) -> None:
        """Cut the answer that is being written at `deadline`."""
        self._outbound.limit_last_words(deadline)

    def look(self, now: float) -> None:
        """End a wait that has taken too long; watch whether the client of a request that takes long is still there."""
        if self._due == _NOT_WAITING:
            if self._looked_at == self._turn and self._inbound.may_be_watched:
                self._inbound.watch(self._nursery)
            self._looked_at = self._turn
        elif self._due <= now:
            self._scope.cancel(reason="no request came in time")

    def _client_left(self) -> None:
        self._scope.cancel(reason="the client is gone")

    # --- requests ---------------------------------------------------------------------------------------------------

    async def _converse(self) -> None:
        idle_timeout = self._shared.limits.idle_timeout
        self._due = trio.current_time() + idle_timeout
        while (head := await self._next_head()) is not None:
            self._due, self._is_answering = _NOT_WAITING, False
            self._turn += 1
            self._inbound.use(head.end)
            if not await self._answer(head):
                return
            self._due = trio.current_time() + idle_timeout

    async def _next_head(self) -> Head | None:
        """Wait for the next request; None if none comes. A head that is not taken is answered here."""
        inbound, limits, seen = self._inbound, self._shared.limits, 0
        if not inbound.is_empty:
            await trio.lowlevel.checkpoint()  # a client that sends ahead must not keep others waiting
        while True:
            if not inbound.is_empty:
                head = read_head(inbound.data, inbound.at, inbound.at + seen, limits)
                if isinstance(head, Refused):
                    await self._refuse(head.status)
                    return None
                if head is not None:
                    return head
                if not seen:
                    self._due = trio.current_time() + limits.head_timeout
                seen = len(inbound.data) - inbound.at
            if not await inbound.more():
                return None

    async def _refuse(self, status: int) -> None:
        self._due, self._is_answering = _NOT_WAITING, True
        if status:
            answer = encode_refusal(status, self._shared.dates.current())
            self._says_goodbye = True
            await self._outbound.send((answer,), len(answer))

    async def _answer(self, head: Head) -> bool:
        """Answer one request; whether the connection can go on to the next."""
        body, receive = None, no_body
        if head.length:
            body = Body.of(head, self._inbound, self._invite, self._lose_body)
            receive = body.receive
        client = self._stream.peer_address or ""
        request = Request(head.method, head.path, head.query, head.headers, receive, head.version, client)
        response = await self._shared.handler(request)
        self._is_answering = True
        goes_on = head.keep_alive and not (
            response.close or (body is not None and body.is_awaited) or self._shared.stop.is_set()
        )
        goes_on = await self._send(response, head, goes_on=goes_on) and goes_on
        if goes_on and body is not None and not body.is_over:
            goes_on = await self._discard(body)
        self._says_goodbye = not goes_on
        return goes_on

    async def _discard(self, body: Body) -> bool:
        """Read what the handler did not want; False if that cannot be done in time."""
        with trio.move_on_after(self._shared.limits.drain_timeout):
            while await body.receive():
                pass
        return body.is_over

    # --- answers ----------------------------------------------------------------------------------------------------

    async def _send(self, response: Response, head: Head, *, goes_on: bool) -> bool:
        """Send an answer; False if its end can only be told by closing."""
        framing = framing_of(response, is_head=head.method == "HEAD", version=head.version)
        goes_on = goes_on and not framing.ends_connection
        connection = b"close" if not goes_on else b"keep-alive" if head.version == "1.0" else b""
        data = encode_head(response, framing, self._shared.dates.current(), connection)
        if data is None:
            _log.error("a header field of the answer to %s %r has a line end in it", head.method, head.path)
            response.release()
            return await self._send(CRASHED, head, goes_on=False)
        if response.stream is not None:
            try:
                return await self._send_stream(response.stream, data, response.body, framing) and goes_on
            finally:
                response.release()
        body = response.body if framing.has_body else b""
        await self._outbound.send((data, body) if body else (data,), len(data) + len(body))
        return goes_on

    async def _send_stream(
        self, stream: Callable[[], Awaitable[bytes]], head: bytes, first: bytes, framing: Framing
    ) -> bool:
        """Send a streamed answer, each piece as it comes; cuts the connection if it breaks off."""
        left, piece, pieces = framing.length, first, [head]
        try:
            while True:
                if piece and framing.has_body:
                    piece = piece if left is None else piece[:left]
                    left = None if left is None else left - len(piece)
                    pieces += framing.wrap(piece) if piece else ()
                await self._outbound.send(pieces, sum(map(len, pieces)))
                if not (piece := await stream()):
                    break
                pieces = []
        except StreamBroken as error:
            _log.warning("a streamed answer broke off: %s", error)
            left = -1
        except BROKEN:
            self._client_left()
            await abandon(stream)
        if framing.has_body and left:
            self._stream.abort()
            raise trio.BrokenResourceError("the answer ended before its end")
        if framing.is_chunked and framing.has_body:
            await self._outbound.send((LAST_CHUNK,), len(LAST_CHUNK))
        return True

    # --- the body's wishes ------------------------------------------------------------------------------------------

    async def _invite(self) -> None:
        if not self._is_answering:
            await self._outbound.send((CONTINUE,), len(CONTINUE))

    async def _lose_body(self, is_broken: bool) -> None:
        """The rest of the body cannot come. Unless its answer is under way, the request is over (D-22)."""
        if is_broken and self._is_answering:
            return
        if is_broken:
            await self._refuse(400)
        self._client_left()
        await trio.lowlevel.checkpoint()

    async def _linger(self) -> None:
        """Read on for a moment: closing with unread input would reset what was said last."""
        if not isinstance(self._stream, SocketStream):
            return
        with trio.move_on_after(self._shared.limits.linger):
            self._stream.end_sending()
            await self._inbound.discard()
