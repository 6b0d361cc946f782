"""The server's side of one WebSocket: messages in batches, messages out through a bounded outbox (wire-protocol 1.2, 1.3)."""

from collections.abc import Awaitable, Callable

import attrs
import trio
from websockets.frames import Opcode

from .frames import FrameSplitter, close_frame, control_frame
from .large import LargeFrame, SpareBuffers
from .outbox import Outbox
from .reasons import CLOSE_CODES, CloseReason
from .stream import BROKEN, RECEIVE_SIZE, ByteStream, SocketStream

_CARRIED = 128 * 1024
"""A frame up to this size that a read cuts is carried into the next read, ..."""

_CARRIED_AGAIN = 16 * 1024
"""... and if that does not complete it, again, up to this size: bytes that trickle in must not be copied over and over."""

_NOTHING = memoryview(b"")
_LINGER = 1.0
"""Seconds in which a close that we begin may still reach the peer."""

Message = bytes | memoryview
"""A received message: text (checked UTF-8) is bytes, binary a memoryview."""


@attrs.define(eq=False, repr=False)
class WebSocket:
    """Reads batches and closes in order."""

    stream: ByteStream
    outbox: Outbox
    now: Callable[[], float]
    heard: bool = False
    """Whether a byte has come since the heartbeat last looked, which takes the mark away."""

    heard_at: float = 0.0
    """When the heartbeat last found the mark, in the clock's seconds."""

    pinged_at: float = 0.0
    spares: SpareBuffers = attrs.field(factory=SpareBuffers)
    _splitter: FrameSplitter = attrs.field(factory=FrameSplitter)
    _rest: bytes = b""
    """Received and not yet split."""

    _has_whole: bool = False
    """Whether `_rest` may hold a whole frame; else it is the beginning of one."""

    _large: LargeFrame | None = None
    """That frame, when it is to be received into a buffer of its own; then `_rest` is empty."""

    def begin(self, response: bytes, leftover: bytes) -> None:
        """Answer the handshake and take up what the peer sent right behind it."""
        self.outbox.send_frame((response,), len(response))
        self._rest, self._has_whole = leftover, bool(leftover)

    @property
    def ended(self) -> CloseReason | None:
        """Why the peer's side is over, None while it is open."""
        return self._splitter.ended

    async def deliver(
        self,
        take: Callable[[list[Message]], Awaitable[None] | None],
        take_one: Callable[[Message], Awaitable[None] | None],
    ) -> None:
        """Hand over every batch of messages, at most `frames.BATCH` each, until the peer's side has ended.

        A message that comes alone goes to `take_one`. Where either returns something to wait for, nothing is received
        meanwhile. Each batch costs a checkpoint. Cancelled: nothing that was received is lost or half-read.
        """
        splitter, wait_readable = self._splitter, trio.lowlevel.wait_readable
        socket = self.stream if isinstance(self.stream, SocketStream) else None
        while splitter.ended is None:
            if socket is None or self._rest or self._large is not None or socket.descriptor < 0:
                batch = await self.receive_batch()
                waiting = take(batch) if batch else None
            else:  # the same as `receive_batch`, with fewer coroutines and calls for each message of a quiet peer
                try:
                    await wait_readable(socket.descriptor)
                    data = socket.receive_nowait()
                except BROKEN:
                    data = _NOTHING
                if data is None:
                    continue
                if (text := splitter.sole_text(data)) is not None:
                    self.heard = True
                    waiting = take_one(text)
                else:
                    batch = []
                    self._split(data, batch, b"")
                    waiting = take(batch) if batch else None
            if waiting is not None:
                await waiting

    async def receive_batch(self) -> list[Message]:
        """Wait for the next messages, at most `frames.BATCH`; an empty list means the peer's side has ended.

        Always a checkpoint. Cancelled: nothing that was received is lost or half-read.
        """
        batch: list[Message] = []
        while not batch and self._splitter.ended is None:
            if self._large is not None:
                await self._receive_large(self._large, batch)
            elif self._has_whole:
                await trio.lowlevel.checkpoint()
                self._split(memoryview(self._rest), batch, b"")
            else:
                carry = self._rest
                try:
                    data = await self.stream.receive(carry)
                except BROKEN:
                    data = _NOTHING
                self._split(data, batch, carry)
        return batch

    def _split(self, data: memoryview, batch: list[Message], carry: bytes) -> None:
        """Cut what was received behind `carry` into messages; nothing more than that is the end."""
        splitter = self._splitter
        if len(data) <= len(carry):
            splitter.ended = CloseReason.PEER_GONE
            return
        self.heard = True
        position, missing = splitter.split(data, 0, batch)
        if position == len(data):
            self._rest, self._has_whole = b"", False
        else:
            self._keep(data[position:], missing, is_fresh=position > 0)
        if splitter.answer:
            self._flush_answers()

    def _keep(self, rest: memoryview, missing: int | None, *, is_fresh: bool) -> None:
        """Put aside what could not be split yet."""
        if missing is None or missing <= (_CARRIED if is_fresh else _CARRIED_AGAIN):
            self._rest, self._has_whole = bytes(rest), missing is None
        else:
            self._rest, self._has_whole = b"", False
            self._large = LargeFrame.begin(missing, rest, self.spares)

    async def _receive_large(self, large: LargeFrame, batch: list[Message]) -> None:
        try:
            is_complete = await large.receive(self.stream)
        except (*BROKEN, EOFError):
            self._splitter.ended = CloseReason.PEER_GONE
            return
        self.heard = True
        if is_complete:
            self._large = None
            with large.take() as frame:
                self._split(frame, batch, b"")
            large.give_back(self.spares)

    def _flush_answers(self) -> None:
        answers = self._splitter.answer
        while answers:
            frame = answers.pop(0)
            self.outbox.send_frame((frame,), len(frame))

    def silence(self, now: float) -> float:
        """Seconds without a byte from the peer, to the heartbeat's precision; takes the mark of `heard` away."""
        if self.heard:
            self.heard, self.heard_at = False, now
        return now - self.heard_at

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        frame = control_frame(Opcode.PING)
        self.pinged_at = self.now()
        self.outbox.send_frame((frame,), len(frame))

    async def close(self, reason: CloseReason) -> None:
        """Say why, as far as the reason is said at all, let what is queued go out within a second, and close.

        Shielded for that second, so that it works in a cancelled task.
        """
        try:
            if reason in CLOSE_CODES:
                if self.ended is not CloseReason.PEER_CLOSED:
                    frame = close_frame(CLOSE_CODES[reason])
                    self.outbox.send_frame((frame,), len(frame))
                with trio.move_on_after(_LINGER, shield=True):
                    await self.outbox.wait_sent()
                    self.stream.end_sending()
                    await self._discard_input()
        except BROKEN:
            pass  # the peer was faster; there is nobody left to be polite to
        finally:
            self._rest, self._large = b"", None
            self._splitter.let_go()
            self.outbox.close()
            self.stream.close()

    async def _discard_input(self) -> None:
        """Read what the peer has sent until it closes: closing with unread input would reset what we just said."""
        if self.ended is CloseReason.PEER_CLOSED:
            return
        with memoryview(bytearray(RECEIVE_SIZE)) as waste:
            while await self.stream.receive_into(waste):
                pass
