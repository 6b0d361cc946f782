"""What waits to be sent to one peer: bounded, in order, and the only thing that writes to its socket (wire-protocol 1.4)."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import attrs
import trio

from iii_trio.protocol import Buffer

from .frames import MEDIUM, frame_header, pack_medium
from .reasons import CloseReason
from .stream import BROKEN, ByteStream, SocketStream

_JOIN_LIMIT = 8 * 1024
_CHUNK = 256 * 1024
_FRAME_COST = 256
"""Bytes counted for a frame beside its text, so that many small ones are bounded, too."""

_HEADER = 10
"""Bytes of the longest header of a frame."""

Frames = Sequence[Buffer]


@attrs.frozen
class OutboxLimits:
    """Bounds of one outbox. Up to `frames` and `size` bytes count as queued; `waiting` more bytes may wait behind them."""

    frames: int = 4_096
    size: int = 16 * 1024 * 1024
    waiting: int = 64 * 1024 * 1024
    patience: float = 60.0
    """Seconds without a single byte taken after which the peer is cut off."""


class Flushing(Protocol):
    """What has something to send at the end of a turn."""

    def flush(self) -> None:
        """Send it; neither waits nor raises."""
        ...


@attrs.define(eq=False, repr=False)
class Turn:
    """One batch of messages of one connection, or of requests: what it makes for others is sent when the batch is done."""

    active: bool = False
    dirty: list[Flushing] = attrs.field(factory=list)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Make what the block sends part of the turn that is under way, or a turn of its own."""
        if self.active:
            yield
            return
        self.active = True
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Send everything the turn has made, one direct send per peer."""
        self.active = False
        dirty, self.dirty = self.dirty, []
        for outbox in dirty:
            outbox.flush()


@attrs.frozen
class OutboxStatistics:
    """What waits, what has been sent."""

    frames: int
    size: int
    sent_frames: int
    sent_bytes: int


@attrs.define(eq=False, repr=False)
class Outbox:
    """Frames in order. Sends directly while the socket takes everything; a writer task takes over when it does not."""

    _stream: ByteStream
    _turn: Turn
    _start_writer: Callable[[Callable[[], Awaitable[None]]], None]
    """Starts an async function in the connection's nursery."""

    _fail: Callable[[CloseReason], None]
    """Ends the connection; called at most once, must not wait."""

    limits: OutboxLimits = attrs.field(factory=OutboxLimits)
    _frames: deque[Frames] = attrs.field(factory=deque)
    _size: int = 0
    _is_dirty: bool = False
    _is_writing: bool = False
    _is_closed: bool = False
    _room: trio.Event | None = None
    _sent_frames: int = 0
    _sent_bytes: int = 0
    _most: int = attrs.field(init=False)
    """Bytes beyond which nothing more is queued."""

    _send: Callable[[bytes], int] = attrs.field(init=False)
    """The system's own call where there is one: a single message passes as few functions as can be."""

    def __attrs_post_init__(self) -> None:
        stream = self._stream
        self._most = self.limits.size + self.limits.waiting
        if isinstance(stream, SocketStream):
            self._send = stream.send
        else:
            self._send = lambda data: stream.send_nowait((data,), len(data))

    # --- the kernel's view: Outlet ----------------------------------------------------------------------------------

    def send(self, pieces: Sequence[Buffer], size: int) -> None:
        """Send one text message, now or in its turn. Beyond all bounds the peer is cut off: what answers it cannot be dropped."""
        if size >= _JOIN_LIMIT:
            header = frame_header(size)
            self.send_frame((header, *pieces), size + len(header))
            return
        text = b"".join((pack_medium(MEDIUM, size) if size > 125 else frame_header(size), *pieces))
        if self._turn.active or self._frames or self._is_closed:
            self.send_frame((text,), len(text))
            return
        try:  # nothing waits and nothing follows: past the queue
            sent = self._send(text)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except BROKEN:
            self.fail(CloseReason.PEER_GONE)
            return
        self._sent_bytes += sent
        if sent == len(text):
            self._sent_frames += 1
        else:
            self._frames.append((text,))
            self._size = len(text) + _FRAME_COST
            self._leave_rest(sent)

    def has_room(self, size: int) -> bool:
        return not self._frames or self._size + size + _HEADER <= self._most

    @property
    def is_full(self) -> bool:
        return len(self._frames) >= self.limits.frames or self._size >= self.limits.size

    async def wait_room(self) -> None:
        while self.is_full and not self._is_closed:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()
        await trio.lowlevel.checkpoint()

    # --- the connection's view --------------------------------------------------------------------------------------

    def send_frame(self, frame: Frames, size: int) -> None:
        """Queue one whole frame, given as pieces of `size` bytes in all."""
        if self._is_closed:
            return
        if self._frames and self._size + size > self._most:
            self.fail(CloseReason.SLOW_CONSUMER)
            return
        self._frames.append(frame)
        self._size += size + _FRAME_COST
        if self._turn.active:
            if not self._is_dirty:
                self._is_dirty = True
                self._turn.dirty.append(self)
        else:
            self.flush()

    def flush(self) -> None:
        """Hand what is queued to the socket in one non-blocking send, unless the writer task is at it."""
        self._is_dirty = False
        frames = self._frames
        if self._is_writing or not frames or self._is_closed:
            return
        pieces = frames[0] if len(frames) == 1 else [piece for frame in frames for piece in frame]
        size = self._size - _FRAME_COST * len(frames)
        try:
            sent = self._stream.send_nowait(pieces, size)
        except BROKEN:
            self.fail(CloseReason.PEER_GONE)
            return
        self._sent_bytes += sent
        if sent == size:
            self._sent_frames += len(frames)
            frames.clear()
            self._size = 0
            return
        self._leave_rest(sent)

    def _leave_rest(self, sent: int) -> None:
        """Have the writer task send what the socket did not take."""
        self._drop(sent)
        self._is_writing = True
        self._start_writer(self._write)

    def fail(self, reason: CloseReason) -> None:
        """Take nothing more and end the connection."""
        if not self._is_closed:
            self.close()
            self._fail(reason)

    def close(self) -> None:
        """Take nothing more and let go of what is queued."""
        self._is_closed = True
        self._frames.clear()
        self._size = 0
        self._made_room()

    async def wait_sent(self) -> None:
        """Wait until nothing is queued; the caller's cancel scope is the deadline."""
        while self._frames and not self._is_closed:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    # --- the writer task --------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            with trio.CancelScope() as patience:
                while self._frames and not self._is_closed:
                    patience.deadline = trio.current_time() + self.limits.patience
                    sent = await self._stream.send_some(*self._gather())
                    if not self._is_closed:
                        self._sent_bytes += sent
                        self._drop(sent)
            if patience.cancelled_caught:
                self.fail(CloseReason.SLOW_CONSUMER)
        except BROKEN:
            self.fail(CloseReason.PEER_GONE)
        finally:
            self._is_writing = False

    def _gather(self) -> tuple[list[Buffer], int]:
        """The pieces of the first frames, up to a chunk; always at least one frame."""
        pieces: list[Buffer] = []
        size = 0
        for frame in self._frames:
            if size and size + _length(frame) > _CHUNK:
                break
            pieces.extend(frame)
            size += _length(frame)
        return pieces, size

    def _drop(self, sent: int) -> None:
        """Forget the first `sent` bytes; a frame sent in part stays, shortened, and still counts as one."""
        self._size -= sent
        while sent:
            frame = self._frames[0]
            length = _length(frame)
            if length > sent:
                self._frames[0] = without_first(frame, sent)
                break
            self._frames.popleft()
            self._size -= _FRAME_COST
            self._sent_frames += 1
            sent -= length
        self._made_room()

    def _made_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def statistics(self) -> OutboxStatistics:
        """Counts, for monitoring."""
        return OutboxStatistics(len(self._frames), self._size, self._sent_frames, self._sent_bytes)


def _length(frame: Frames) -> int:
    return sum(map(len, frame))


def without_first(frame: Frames, sent: int) -> Frames:
    """The pieces without the `sent` bytes that they begin with."""
    rest: list[Buffer] = []
    for piece in frame:
        if sent >= len(piece):
            sent -= len(piece)
        else:
            rest.append(memoryview(piece)[sent:] if sent else piece)
            sent = 0
    return rest
