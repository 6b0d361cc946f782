"""WebSocket frames (RFC 6455): the common ones by hand, every other whole through `websockets`' protocol (wire-protocol 1.2)."""

import struct

import attrs
from websockets.exceptions import PayloadTooBig
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.speedups import apply_mask

from .reasons import CloseReason

MAX_FRAME = 16 * 1024 * 1024
MAX_MESSAGE = 64 * 1024 * 1024
BATCH = 64
"""Messages handled before other connections get their turn."""

COMMON = 0x81  # FIN and TEXT, no reserved bits
_MASKED = 0x80
_LENGTH_ENDS = tuple({126: 4, 127: 10}.get(second & 0x7F, 2) for second in range(256))
"""Where the length in a frame's header ends, by the second byte; the key that masks the frame may follow."""

MEDIUM = COMMON << 8 | 126
"""The beginning of a common frame whose length takes two bytes more; a masked one has a further bit."""

_MASKED_MEDIUM = MEDIUM | _MASKED
_MEDIUM_HEAD = 8
"""Bytes before the text of such a frame: these two, its length, the key that masks it."""

_MEDIUM = struct.Struct("!HH")
_medium_head = _MEDIUM.unpack_from
pack_medium = _MEDIUM.pack
"""From `MEDIUM` and the size to the header of an unmasked one."""


def frame_header(size: int) -> bytes:
    """The header of an unmasked, unfragmented text frame of `size` bytes."""
    if size < 126:
        return bytes((COMMON, size))
    if size < 65536:
        return pack_medium(MEDIUM, size)
    return struct.pack("!BBQ", COMMON, 127, size)


def binary_header(size: int) -> bytes:
    """The header of an unmasked, unfragmented binary frame of `size` bytes."""
    return b"\x82" + frame_header(size)[1:]


def control_frame(opcode: Opcode, data: bytes = b"") -> bytes:
    """A `Ping`, `Pong` or `Close` of this side, ready to be sent."""
    return Frame(opcode, data).serialize(mask=False)


def close_frame(code: int | None) -> bytes:
    """A `Close` with a status, or without."""
    return control_frame(Opcode.CLOSE, b"" if code is None else struct.pack("!H", code))


@attrs.define(eq=False, repr=False)
class FrameSplitter:
    """Turns bytes into messages and knows how the peer's side ended. No I/O; fed with whole frames.

    `answer` collects control frames to be sent back (pongs, the close).
    """

    ended: CloseReason | None = None
    answer: list[bytes] = attrs.field(factory=list)
    _protocol: Protocol | None = None
    _fragments: bytearray | None = None  # one buffer: a list of one-byte fragments would cost many times their size
    _fragments_text: bool = True

    def split(self, data: memoryview, position: int, batch: list[bytes | memoryview]) -> tuple[int, int | None]:
        """Add messages from `position` on to `batch`: text as bytes, binary as a memoryview, at most `BATCH`.

        Returns the position after the last whole frame and, if the bytes end inside the next one or right before it,
        that frame's size as far as its header tells, else 0; None if whole frames are left.
        Stops where the peer's side ended; `ended` says why.
        """
        length = len(data)
        while position < length:
            if len(batch) >= BATCH or self.ended is not None:
                return position, None
            if length - position >= _MEDIUM_HEAD and self._fragments is None:
                head, size = _medium_head(data, position)
                end = position + _MEDIUM_HEAD + size
                if head == _MASKED_MEDIUM and end <= length:
                    self._add_text(data, end - size, end, batch)
                    position = end
                    continue
            position, missing = self._split_next(data, position, batch)
            if missing is not None:
                return position, missing
        return position, 0

    def _split_next(self, data: memoryview, position: int, batch: list[bytes | memoryview]) -> tuple[int, int | None]:
        """The same for one frame of any kind; None if it was whole, or has ended the peer's side."""
        if len(data) - position < 2:
            return position, 0
        second = data[position + 1]
        start = position + _LENGTH_ENDS[second]
        if len(data) < start:
            return position, 0
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(data[position + 2 : start], "big")
            if size > MAX_FRAME:
                self.ended = CloseReason.TOO_BIG
                return position, None
        if second & _MASKED:
            start += 4
        end = start + size
        if len(data) < end:
            return position, end - position
        if data[position] == COMMON and second & _MASKED and self._fragments is None:
            self._add_text(data, start, end, batch)
        else:
            self._uncommon(bytes(data[position:end]), batch)
        return end, None

    def _add_text(self, data: memoryview, start: int, end: int, batch: list[bytes | memoryview]) -> None:
        text = apply_mask(data[start:end], data[start - 4 : start])  # type: ignore[arg-type]  # takes any buffer
        if text.isascii() or self._is_utf8(text):
            batch.append(text)

    def sole_text(self, data: memoryview) -> bytes | None:
        """The message if `data` is a common frame of 126 to 65,535 bytes of ASCII and nothing else; None to have it split.

        The frame of a peer that makes one call at a time. It does what `split` does, in a fourth of the steps.
        """
        size = len(data) - _MEDIUM_HEAD
        if size < 126 or self._fragments is not None or _medium_head(data) != (_MASKED_MEDIUM, size):
            return None
        text = apply_mask(data[_MEDIUM_HEAD:], data[_MEDIUM_HEAD - 4 : _MEDIUM_HEAD])  # type: ignore[arg-type]  # takes any buffer
        return text if text.isascii() else None

    def let_go(self) -> None:
        """Forget what was received and is not a message yet: up to 64 MiB that must not wait for the garbage collector."""
        if self._protocol is not None:
            self._protocol.parser.close()  # a generator that holds the last frame and, in a cycle, the protocol
            self._protocol.parser_exc = None  # so does its traceback
        self._fragments = self._protocol = None

    def _is_utf8(self, text: bytes) -> bool:
        try:
            text.decode()
        except UnicodeDecodeError:
            self.ended = CloseReason.NOT_UTF8
            return False
        return True

    def _uncommon(self, frame: bytes, batch: list[bytes | memoryview]) -> None:
        """Control frames, fragments, binary, violations: one whole frame through the protocol, which checks the rules."""
        if self._protocol is None:
            self._protocol = Protocol(Side.SERVER, max_size=MAX_MESSAGE)
        self._protocol.receive_data(frame)
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)  # a protocol without a handshake has no other events
            self._take(event, batch)
        if (problem := self._protocol.parser_exc) is not None:
            self.ended = CloseReason.TOO_BIG if isinstance(problem, PayloadTooBig) else CloseReason.PROTOCOL_ERROR
            self._protocol.data_to_send()
        else:
            self.answer.extend(data for data in self._protocol.data_to_send() if data)

    def _take(self, event: Frame, batch: list[bytes | memoryview]) -> None:
        if event.opcode is Opcode.CLOSE:
            self.ended = CloseReason.PEER_CLOSED
        if event.opcode in CTRL_OPCODES:
            return
        if event.opcode is not Opcode.CONT:
            self._fragments = bytearray()
            self._fragments_text = event.opcode is Opcode.TEXT
        assert self._fragments is not None
        self._fragments += event.data
        if event.fin:
            self._complete(bytes(self._fragments), batch)

    def _complete(self, message: bytes, batch: list[bytes | memoryview]) -> None:
        self._fragments = None
        if not self._fragments_text:
            batch.append(memoryview(message))
        elif message.isascii() or self._is_utf8(message):
            batch.append(message)
