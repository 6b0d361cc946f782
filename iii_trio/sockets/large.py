"""A frame too large for the shared receive buffer gets one of its own, which grows only as bytes come and is used again."""

import attrs

from .stream import ByteStream

_FIRST = 2 * 1024 * 1024
"""Bytes of buffer a peer gets by announcing a frame: a payload of 1 MiB and its envelope fit without growing."""

_KEPT = 4


@attrs.define(eq=False, repr=False)
class SpareBuffers:
    """At most four buffers of up to 2 MiB, shared by the connections of a listener: a fresh one has to be zeroed first."""

    _free: list[bytearray] = attrs.field(factory=list)

    def take(self, size: int) -> bytearray:
        """A buffer for `size` bytes, or one that has to grow."""
        return self._free.pop() if self._free else bytearray(min(size, _FIRST))

    def give_back(self, buffer: bytearray) -> None:
        """Keep a buffer that nobody looks at any more, unless it is too large or there are enough."""
        if len(self._free) < _KEPT and len(buffer) <= _FIRST:
            self._free.append(buffer)


@attrs.define(eq=False, repr=False)
class LargeFrame:
    """A frame of `size` bytes on its way in."""

    size: int
    _buffer: bytearray
    _filled: int

    @classmethod
    def begin(cls, size: int, beginning: memoryview, spares: SpareBuffers) -> "LargeFrame":
        """Take up what has come of it so far."""
        frame = cls(size, spares.take(size), 0)
        filled = len(beginning)
        if filled > len(frame._buffer):
            frame._buffer.extend(bytes(filled - len(frame._buffer)))
        frame._buffer[:filled] = beginning
        frame._filled = filled
        return frame

    async def receive(self, stream: ByteStream) -> bool:
        """Wait for bytes of it; whether it is complete. Raises one of `BROKEN`, EOFError at the end of the stream.

        Cancelled: what has come stays, the next call goes on.
        """
        if self._filled == len(self._buffer):
            self._buffer.extend(bytes(min(self.size, 2 * self._filled) - self._filled))
        with memoryview(self._buffer) as whole, whole[self._filled : self.size] as missing:
            got = await stream.receive_into(missing)
        if not got:
            raise EOFError
        self._filled += got
        return self._filled == self.size

    def take(self) -> memoryview:
        """The complete frame; to be released before the buffer is given back."""
        return memoryview(self._buffer)[: self.size]

    def give_back(self, spares: SpareBuffers) -> None:
        """The frame has been used up."""
        spares.give_back(self._buffer)
