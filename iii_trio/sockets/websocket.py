"""The server's side of one WebSocket: messages in batches, messages out through a bounded outbox (wire-protocol 1.2, 1.3)."""

from collections.abc import Callable

import attrs
import trio
from websockets.frames import Opcode

from .frames import FrameSplitter, Incomplete, close_frame, control_frame
from .outbox import Outbox
from .reasons import CLOSE_CODES, CloseReason
from .stream import BROKEN, RECEIVE_SIZE, ByteStream

_ASSEMBLE_FROM = 16 * 1024
_GROW_FROM = 2 * 1024 * 1024
_LINGER = 1.0
"""Seconds in which a close that we begin may still reach the peer."""

Message = bytes | memoryview
"""A received message: text (checked UTF-8) is bytes, binary a memoryview."""


@attrs.define(eq=False, repr=False)
class WebSocket:
    """Reads batches and closes in order. `heard_at` is when the last byte came, in the clock's seconds."""

    stream: ByteStream
    outbox: Outbox
    now: Callable[[], float]
    heard_at: float = 0.0
    pinged_at: float = 0.0
    _splitter: FrameSplitter = attrs.field(factory=FrameSplitter)
    _rest: memoryview | bytes = b""
    """Received and not yet split. Small and ending inside a frame: carried into the next read."""

    _is_partial: bool = True
    _missing: int = 0

    def begin(self, response: bytes, leftover: bytes) -> None:
        """Answer the handshake and take up what the peer sent right behind it."""
        self.outbox.send_frame((response,), len(response))
        self._rest, self._is_partial = leftover, not leftover

    @property
    def ended(self) -> CloseReason | None:
        """Why the peer's side is over, None while it is open."""
        return self._splitter.ended

    async def receive_batch(self) -> list[Message]:
        """Wait for the next messages, at most `frames.BATCH`; an empty list means the peer's side has ended.

        Always a checkpoint. Cancelled: nothing that was received is lost or half-read.
        """
        batch: list[Message] = []
        while not batch and self._splitter.ended is None:
            data = await self._more()
            if data is None:
                self._splitter.ended = CloseReason.PEER_GONE
            else:
                self._split(data, batch)
                self._flush_answers()
        return batch

    async def _more(self) -> memoryview | None:
        """The next bytes to split: what a long batch left over, else what the network brings; None at its end."""
        if not self._is_partial:
            await trio.lowlevel.checkpoint()
            return memoryview(self._rest)
        if self._missing > _ASSEMBLE_FROM:
            return await self._assemble()
        carry = bytes(self._rest)
        try:
            data = await self.stream.receive(carry)
        except BROKEN:
            return None
        self.heard_at = self.now()
        return data if len(data) > len(carry) else None

    async def _assemble(self) -> memoryview | None:
        """Receive a large frame into a buffer of its own, which grows only as bytes come."""
        need = self._missing
        filled = len(self._rest)
        frame = bytearray(min(need, max(_GROW_FROM, 2 * filled)))
        frame[:filled] = self._rest
        self._rest = b""
        while filled < need:
            if filled == len(frame):
                frame.extend(bytes(min(need, 2 * filled) - filled))
            try:
                with memoryview(frame) as view:
                    got = await self.stream.receive_into(view[filled:])
            except BROKEN:
                return None
            if not got:
                return None
            self.heard_at = self.now()
            filled += got
        self._missing = 0
        return memoryview(frame)

    def _split(self, data: memoryview, batch: list[Message]) -> None:
        position, incomplete = self._splitter.split(data, 0, batch)
        self._is_partial = incomplete is not None
        self._missing = incomplete.size if isinstance(incomplete, Incomplete) else 0
        self._rest = bytes(data[position:]) if self._is_partial or position < len(data) else b""
        if not self._rest:
            self._is_partial = True

    def _flush_answers(self) -> None:
        answers = self._splitter.answer
        while answers:
            frame = answers.pop(0)
            self.outbox.send_frame((frame,), len(frame))

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
            self._rest = b""
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
