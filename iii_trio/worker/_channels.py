"""Data channels as a worker sees them: live ends in place of references, opened when they are first used (wire-protocol 10)."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Protocol

import attrs
import trio

from iii_trio.kernel.channels import PIECE
from iii_trio.protocol import Json, Payload

Item = bytes | str
"""Bytes of the stream, or a text: a message beside it."""

Ref = Mapping[str, str]
MAX_ITEM: Final = 16 << 20
_KEY: Final = "access_key"
_MARK: Final = b'"access_key"'
_INNER: Final = frozenset({dict, list})


class ReadEnd(Protocol):
    """An open reading end."""

    async def receive(self) -> Item:
        """Wait for the next item. Raises trio.EndOfChannel, BrokenResourceError, ClosedResourceError."""
        ...

    def close(self) -> None:
        """Read no more."""
        ...


class WriteEnd(Protocol):
    """An open writing end."""

    async def send(self, item: Item) -> None:
        """Wait for room and send. Raises trio.BrokenResourceError, ClosedResourceError."""
        ...

    async def finish(self) -> None:
        """End the stream in order."""
        ...

    def close(self) -> None:
        """Break the stream off."""
        ...


class Ends(Protocol):
    """Opens ends of channels: over sockets, or in the process of the engine."""

    async def open_reader(self, ref: Ref) -> ReadEnd:
        """Open. Raises trio.BrokenResourceError, saying why."""
        ...

    async def open_writer(self, ref: Ref) -> WriteEnd:
        """Open. Raises trio.BrokenResourceError, saying why."""
        ...


@attrs.define(eq=False)
class ChannelReader(trio.abc.ReceiveChannel[Item]):
    """The reading end of a data channel: `async for item in reader`, or `receive`, or `read_all`. For one task.

    It connects when it is first used. `ref` is what stands for it in a payload. `close` works in a cancelled task.
    """

    ref: Ref
    _ends: Ends = attrs.field(repr=False)
    _end: ReadEnd | None = attrs.field(default=None, init=False, repr=False)
    _closed: bool = attrs.field(default=False, init=False)

    async def receive(self) -> Item:
        """Wait for the next item: bytes, or str for a text.

        Raises trio.EndOfChannel once the writer has finished, or has gone (the engine does not tell which);
        trio.BrokenResourceError if the channel is not there, is read by somebody else, or the connection is lost;
        trio.ClosedResourceError after `close`. Cancelled, nothing has been taken.
        """
        if self._closed:
            raise trio.ClosedResourceError("this end of the channel was closed")
        if self._end is None:
            self._end = await self._ends.open_reader(self.ref)
        return await self._end.receive()

    async def read_all(self) -> bytes:
        """Wait for the end; the bytes up to it in one piece, without the texts between. Raises as `receive`."""
        pieces = [item async for item in self if isinstance(item, bytes)]
        return b"".join(pieces)

    def close(self) -> None:
        """Read no more; what the writer sends next cannot be delivered. Safe to repeat."""
        self._closed = True
        if self._end is not None:
            self._end.close()

    async def aclose(self) -> None:
        """The same, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class ChannelWriter(trio.abc.SendChannel[Item]):
    """The writing end of a data channel; a block of `async with` finishes it, or breaks it off if an error leaves the block.

    For one task. It connects when it is first used. `ref` is what stands for it in a payload.
    """

    ref: Ref
    _ends: Ends = attrs.field(repr=False)
    _end: WriteEnd | None = attrs.field(default=None, init=False, repr=False)
    _closed: bool = attrs.field(default=False, init=False)

    async def send(self, value: Item) -> None:
        """Send one item, at most 16 MiB: bytes, or str for a text. Waits while the channel is full.

        Raises trio.BrokenResourceError if nobody reads any more, or as `ChannelReader.receive`; ClosedResourceError
        after `close` or `aclose`; ValueError if it is too large. Cancelled, the item may have been sent or not.
        """
        if len(value) > MAX_ITEM or (isinstance(value, str) and len(value.encode()) > MAX_ITEM):
            raise ValueError(f"an item of a channel has at most {MAX_ITEM} bytes: use `write`, or send it in parts")
        await (await self._opened()).send(value)

    async def write(self, data: bytes) -> None:
        """Send bytes of any length, in items of at most 64 KiB, which every SDK can read. Raises as `send`."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            await self.send(bytes(view[start : start + PIECE]))

    async def _opened(self) -> WriteEnd:
        if self._closed:
            raise trio.ClosedResourceError("this end of the channel was closed")
        if self._end is None:
            self._end = await self._ends.open_writer(self.ref)
        return self._end

    async def aclose(self) -> None:
        """Finish: the reader gets what was sent, then the end. Waits until the engine has all of it. Safe to repeat.

        Cancelled, the stream is broken off.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        try:
            await (await self._opened()).finish()
        except trio.BrokenResourceError:
            pass  # nobody reads: there is no end to be told of
        finally:
            self.close()

    def close(self) -> None:
        """Break the stream off, at once. A reader sees its end; an HTTP client that it is incomplete. Safe to repeat."""
        self._closed = True
        if self._end is not None:
            self._end.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.close()
        await self.aclose()


@attrs.frozen(eq=False)
class Channel:
    """A new data channel: both ends, to use here or to give away as `writer_ref` and `reader_ref` in any payload."""

    writer: ChannelWriter
    reader: ChannelReader

    @property
    def writer_ref(self) -> dict[str, str]:
        """The writing end in a payload."""
        return dict(self.writer.ref)

    @property
    def reader_ref(self) -> dict[str, str]:
        """The reading end in a payload."""
        return dict(self.reader.ref)


def live_value(payload: Payload, ends: Ends) -> Json:
    """The decoded payload, with a live end in the place of every reference in it, at any depth (10.1).

    The payload's own value is changed: it is handed to one consumer.
    """
    value = payload.value
    marks = bytes(payload.raw).count(_MARK)  # a look that spares nearly all the walk
    if not marks:
        return value
    if type(value) is dict and _KEY not in value:
        _enliven(value, ends, marks)
        return value
    whole = [value]
    _enliven(whole, ends, marks)
    return whole[0]


def _enliven(container: Any, ends: Ends, left: int) -> int:
    """Replace references in a dict or list, those on top first; returns how many of `left` marks are still to be found.

    From the end: the last members of a request object are references.
    """
    inner = []
    for key in reversed(container if type(container) is dict else range(len(container))):
        item = container[key]
        if type(item) is dict and _KEY in item:
            if (end := _end_of(item, ends)) is not None:
                container[key] = end
            else:
                inner.append(item)
            left -= 1
            if left == 0:
                return 0
        elif type(item) in _INNER:
            inner.append(item)
    for item in inner:
        if left == 0:
            break
        left = _enliven(item, ends, left)
    return left


def _end_of(ref: dict[str, Any], ends: Ends) -> ChannelReader | ChannelWriter | None:
    if type(ref[_KEY]) is str and type(ref.get("channel_id")) is str:
        match ref.get("direction"):
            case "read":
                return ChannelReader(ref, ends)
            case "write":
                return ChannelWriter(ref, ends)
    return None
