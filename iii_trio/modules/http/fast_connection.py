"""One client's connection of the fast server: request after request in one task."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from iii_trio.sockets import BROKEN, ByteStream, Readiness, SocketStream, Turn, without_first

from .answer import (
    CONTINUE,
    Answers,
    Moment,
    encode_refusal,
)
from .fast_body import Body, no_body
from .fast_inbound import Inbound
from .fast_outbound import Outbound, Pieces
from .fast_responses import Responder
from .head import Head, Refused, read_head
from .seam import (
    Headers,
    Pending,
    Request,
    RequestHandler,
    Response,
    ServerLimits,
    Shortcut,
    Shortcuts,
)

_log = logging.getLogger("iii_trio.http")
_NOT_WAITING: Final = math.inf
LOOK_EVERY: Final = 0.25
"""Seconds between two looks at the clock and all connections; a deadline counts from the last look, and allows for it."""

_REMEMBERED: Final = 4 * 1024
"""Bytes of the longest head that is kept to be compared with the next one."""


@attrs.frozen(eq=False)
class Shared:
    """What all connections of a server share."""

    handler: RequestHandler
    shortcuts: Shortcuts | None
    limits: ServerLimits
    moment: Moment
    answers: Answers
    turn: Turn
    readiness: Readiness | None
    stop: trio.Event
    idle: float = attrs.field(init=False)
    """Seconds from the last look at the clock to when waiting for a request has taken too long."""

    @idle.default
    def _(self) -> float:
        return LOOK_EVERY + self.limits.idle_timeout


@attrs.define(eq=False)
class _Known:
    """The head that came last: clients often send the same again."""

    head: Head
    text: bytes
    shortcut: Shortcut | None = None
    size: int = attrs.field(init=False)
    """Bytes of the whole request; less than those of its head if that does not tell."""

    def __attrs_post_init__(self) -> None:
        self.size = len(self.text) + self.head.length


@attrs.define(eq=False)
class _Outgoing:
    """What is to be sent of an answer: all of it, or what the socket did not take at once."""

    goes_on: bool
    pieces: Pieces = ()
    size: int = 0
    response: Response | None = None


@attrs.define(eq=False)
class FastConnection:
    """Reads a head, has it answered, and begins again. A `Client` of requests that are on their shortcut.

    Those are answered from elsewhere, and may be read elsewhere; all others in the task that accepted the client (ADR 16).
    The deadlines while a request is awaited are kept by the server, which calls `look` regularly: a timer per request
    would cost more than reading its head.
    """

    _stream: ByteStream
    _shared: Shared
    _nursery: trio.Nursery
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _inbound: Inbound = attrs.field(init=False)
    _outbound: Outbound = attrs.field(init=False)
    _responder: Responder = attrs.field(init=False)
    _due: float = attrs.field(default=_NOT_WAITING, init=False)
    """When waiting for a request has taken too long (Trio's clock)."""

    _turn: int = attrs.field(default=0, init=False)
    _looked_at: int = attrs.field(default=0, init=False)
    _is_answering: bool = attrs.field(default=False, init=False)
    _says_goodbye: bool = attrs.field(default=False, init=False)
    """Whether the client may still be reading a last answer when the connection closes."""

    _known: "_Known | None" = attrs.field(default=None, init=False)
    _pending: Pending | None = attrs.field(default=None, init=False)
    """A request on its shortcut, until its answer comes."""

    _outgoing: "_Outgoing | None" = attrs.field(default=None, init=False)
    """What has come for this task to send."""

    _interrupt: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    """Cancelled to have this task send something; renewed when that has happened."""

    _answered: trio.Event | None = attrs.field(default=None, init=False)
    _has_ended: bool = attrs.field(default=False, init=False)
    """Whether the client sends no more, while it waits for an answer."""

    def __attrs_post_init__(self) -> None:
        readiness = self._shared.readiness
        self._inbound = Inbound(self._stream, self._client_left, readiness, self._is_repeated, self._is_handed_over)
        self._outbound = Outbound(self._stream, self._shared.limits.write_timeout)
        self._responder = Responder(self._stream, self._outbound, self._shared.moment, self._client_left)

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
            if self._pending is not None:
                self._pending.abandon()
            if self._outgoing is not None and self._outgoing.response is not None:
                self._outgoing.response.release()  # it came while the connection ended
            self._stream.close()

    # --- what the server asks for -----------------------------------------------------------------------------------

    def close_if_idle(self) -> None:
        """Close now unless a request is being answered."""
        if self._due != _NOT_WAITING and self._pending is None and self._outgoing is None:
            self._scope.cancel(reason="the server stops")

    def limit_last_words(self, deadline: float) -> None:
        """Cut the answer that is being written at `deadline`."""
        self._outbound.limit_last_words(deadline)

    def look(self, now: float) -> None:
        """End a wait that has taken too long; watch whether the client of a request that takes long is still there."""
        if self._pending is None and self._due != _NOT_WAITING:
            if self._due <= now:
                self._scope.cancel(reason="no request came in time")
        elif self._looked_at != self._turn:
            self._looked_at = self._turn
        elif self._pending is not None and self._due <= now:
            self._pending.expire()
        elif self._has_ended:
            self._client_left()
        elif self._inbound.may_be_watched:
            self._inbound.watch(self._nursery)

    def _client_left(self) -> None:
        self._scope.cancel(reason="the client is gone")

    # --- requests ---------------------------------------------------------------------------------------------------

    async def _converse(self) -> None:
        goes_on = True
        self._await_request()
        while goes_on:
            self._interrupt = trio.CancelScope()
            with self._interrupt:
                await self._take_requests()
            goes_on = self._outgoing is not None and await self._send_outgoing(self._outgoing)

    def _await_request(self) -> None:
        self._due = self._shared.moment.now + self._shared.idle

    def _allow(self, seconds: float) -> None:
        """Let what is waited for take so long, from the last look at the clock."""
        self._due = self._shared.moment.now + LOOK_EVERY + seconds

    async def _take_requests(self) -> None:
        """Answer requests until there are no more; cancelled by the answer to one of them that this task has to send."""
        while (head := await self._next_head()) is not None:
            if self._hand_over(head):
                if not await self._more():
                    return
                continue
            self._turn += 1
            self._due, self._is_answering = _NOT_WAITING, False
            self._inbound.use(head.end)
            if not await self._answer(head):
                return
            if not self._inbound.is_empty:
                await trio.lowlevel.checkpoint()  # a client that sends ahead must not keep others waiting

    async def _next_head(self) -> Head | None:
        """Wait for the next request that was not handed over; None if none comes. A head that is not taken is answered here."""
        inbound, limits, seen = self._inbound, self._shared.limits, 0
        while True:
            if not inbound.is_empty:
                head = self._read_head(seen)
                if isinstance(head, Refused):
                    await self._refuse(head.status)
                    return None
                if head is not None:
                    return head
                if not seen:
                    self._allow(limits.head_timeout)
                seen = len(inbound.data) - inbound.at
            if not await (inbound.more() if seen else self._more()):
                return None

    async def _more(self) -> bool:
        """Wait until nothing is to be answered and the client's next bytes are there; False if none come or count any more."""
        if self._inbound.is_empty and not await self._inbound.more_to_look_at():
            self._has_ended = True
        if self._pending is not None or self._outgoing is not None:  # the client sends ahead
            self._answered = trio.Event()
            await self._answered.wait()
        return not (self._has_ended or self._says_goodbye)

    def _is_repeated(self, data: bytes) -> bool:
        """Begin with the request that has just come if its head is the one before again, as `_is_handed_over` in fewer steps."""
        known = self._known
        if (
            known is None
            or known.shortcut is None
            or len(data) != known.size
            or not data.startswith(known.text)
            or self._pending is not None
            or self._outgoing is not None
            or not known.shortcut.is_current
        ):
            return False
        return self._begin(known.shortcut, data[len(known.text) :])

    def _is_handed_over(self) -> bool:
        """Begin with a request that has just come; False if there is anything in it that the task has to look at."""
        if self._pending is not None or self._outgoing is not None:
            return False
        head = self._read_head(0)
        return isinstance(head, Head) and self._hand_over(head) and self._inbound.is_empty

    def _read_head(self, seen: int) -> Head | Refused | None:
        """The head of the next request; if it is the one before again, that one."""
        inbound, known = self._inbound, self._known
        if known is not None and inbound.data.startswith(known.text, inbound.at):
            known.head.end = inbound.at + len(known.text)
            return known.head
        head = read_head(inbound.data, inbound.at, inbound.at + seen, self._shared.limits)
        self._known = None
        if isinstance(head, Head) and head.end - inbound.at <= _REMEMBERED:
            self._known = _Known(head, bytes(inbound.data[inbound.at : head.end]))
        return head

    # --- requests on their shortcut ---------------------------------------------------------------------------------

    def _hand_over(self, head: Head) -> bool:
        """Begin with a request whose answer will come to `respond`; False, and no effect, if it has to be answered here."""
        known, shortcuts, data = self._known, self._shared.shortcuts, self._inbound.data
        if shortcuts is None or known is None or head.length < 0 or head.expects_continue or head.version != "1.1":
            return False
        end = head.end + head.length
        if len(data) < end:
            return False
        way = known.shortcut
        if way is None or not way.is_current:
            way = known.shortcut = shortcuts.find(self._request(head, no_body))
        if way is None or not self._begin(way, bytes(data[head.end : end])):
            return False
        self._inbound.use(end)
        return True

    def _begin(self, way: Shortcut, body: bytes) -> bool:
        self._pending = way.take(body, self)
        if self._pending is None:
            return False
        self._allow(way.timeout)
        self._turn += 1
        return True

    def respond(self, response: Response) -> None:
        """Send the answer to the request on its shortcut (a `Client`)."""
        if response.stream is None:
            self.answer(response.status, response.headers, response.body, close=response.close)
        else:
            self._pending = None
            assert self._known is not None
            self._leave_to_task(_Outgoing(self._goes_on(self._known.head, close=response.close), response=response))

    def answer(self, status: int, headers: Headers, body: bytes, *, close: bool = False) -> None:
        """Send it at once, or at the end of the turn; in the connection's task if the socket does not take it."""
        self._pending, shared = None, self._shared
        assert self._known is not None
        goes_on = self._goes_on(self._known.head, close=close)
        pieces = shared.answers.encode(status, headers, body, b"" if goes_on else b"close")
        if pieces is None:
            self._leave_to_task(_Outgoing(goes_on, response=Response(status, headers, body)))
        else:
            self._outgoing = _Outgoing(goes_on, pieces, sum(map(len, pieces)))
            if shared.turn.active:
                shared.turn.dirty.append(self)
            else:
                self.flush()

    def _goes_on(self, head: Head, *, close: bool) -> bool:
        return head.keep_alive and not (close or self._shared.stop.is_set())

    def flush(self) -> None:
        """Send what goes out, as far as it can be done at once."""
        outgoing = self._outgoing
        if outgoing is None:
            return  # the client has ended the conversation, and the task has sent it meanwhile
        pieces, size, goes_on = outgoing.pieces, outgoing.size, outgoing.goes_on
        self._outgoing = None
        try:
            sent = self._stream.send_nowait(pieces, size)
        except BROKEN:
            self._client_left()
            return
        if sent != size:
            self._leave_to_task(_Outgoing(goes_on, without_first(pieces, sent), size - sent))
        elif self._is_followed(goes_on=goes_on):
            if self._answered is not None:
                self._answered.set()
                self._answered = None
        else:
            self._scope.cancel(reason="the last answer is out")

    def _is_followed(self, *, goes_on: bool) -> bool:
        """An answer is out: await the next request, or say goodbye if the server has been stopped meanwhile, too."""
        if goes_on and not self._shared.stop.is_set():
            self._await_request()
            return True
        self._says_goodbye = True
        return False

    def _leave_to_task(self, outgoing: "_Outgoing") -> None:
        self._outgoing, self._due = outgoing, _NOT_WAITING
        self._interrupt.cancel(reason="there is something to send")

    async def _send_outgoing(self, outgoing: "_Outgoing") -> bool:
        """Send what `respond` has left; False if the connection ends."""
        assert self._known is not None
        self._is_answering, goes_on = True, outgoing.goes_on
        if outgoing.response is not None:
            goes_on = await self._responder.send(outgoing.response, self._known.head, goes_on=goes_on)
        else:
            await self._outbound.send(outgoing.pieces, outgoing.size)
        self._outgoing = None
        return self._is_followed(goes_on=goes_on) and not self._has_ended

    # --- requests that are answered here ----------------------------------------------------------------------------

    async def _refuse(self, status: int) -> None:
        self._due, self._is_answering = _NOT_WAITING, True
        if status:
            answer = encode_refusal(status, self._shared.moment.date)
            self._says_goodbye = True
            await self._outbound.send((answer,), len(answer))

    async def _answer(self, head: Head) -> bool:
        """Answer one request; whether the connection can go on to the next."""
        body, receive = None, no_body
        if head.length:
            body = Body.of(head, self._inbound, self._invite, self._lose_body)
            receive = body.receive
        response = await self._shared.handler(self._request(head, receive))
        self._is_answering = True
        goes_on = self._goes_on(head, close=response.close or (body is not None and body.is_awaited))
        goes_on = await self._responder.send(response, head, goes_on=goes_on)
        if goes_on and body is not None and not body.is_over:
            goes_on = await self._discard(body)
        return self._is_followed(goes_on=goes_on)

    def _request(self, head: Head, receive: Callable[[], Awaitable[bytes]]) -> Request:
        client = self._stream.peer_address or ""
        return Request(head.method, head.path, head.query, head.headers, receive, head.version, client)

    async def _discard(self, body: Body) -> bool:
        """Read what the handler did not want; False if that cannot be done in time."""
        with trio.move_on_after(self._shared.limits.drain_timeout):
            while await body.receive():
                pass
        return body.is_over

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
