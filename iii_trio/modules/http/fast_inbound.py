"""The receiving half of a connection: bytes that have come and are not used yet, and who waits for more."""

from collections.abc import Callable
from functools import partial
from typing import Final

import attrs
import trio

from iii_trio.sockets import BROKEN, ByteStream, Readiness, SocketStream

_AHEAD: Final = 16 * 1024
_COMPACT: Final = 256 * 1024


@attrs.define(eq=False)
class Inbound:
    """What came from the client, from `at` on not used yet. One task at a time asks for more.

    While a request is answered nobody needs more bytes, and only a read shows that the client has left. A read that waits
    costs a task, which most requests are too short for: the server starts `watch` for those that take long.
    """

    _stream: ByteStream
    _left: Callable[[], None]
    """Called when the client has left while somebody else than the reader works for it; must not wait."""

    _readiness: Readiness | None = None
    _is_whole: Callable[[bytes], bool] = lambda _: False
    """Called with what has come while a task waits for something to look at, before it is added: whether that is dealt with."""

    _is_taken: Callable[[], bool] = lambda: False
    """Called when it was added: whether the task need not look at it."""

    data: bytes | bytearray = b""
    at: int = 0
    _readers: int = 0
    """Two for a moment, when one was cancelled in favour of another and has not run since."""

    _task: trio.lowlevel.Task | None = None
    _arrived: bool | Exception = False
    """What has ended that task's wait: bytes, the client's end (False), or an error."""

    _watching: trio.CancelScope | None = None
    _watch_ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def is_empty(self) -> bool:
        """Whether everything that came has been used."""
        return self.at == len(self.data)

    @property
    def may_be_watched(self) -> bool:
        """Whether nobody waits for bytes, and there is room for some."""
        return not self._readers and self._watching is None and len(self.data) - self.at < _AHEAD

    def use(self, end: int) -> None:
        """Everything before `end` has been used."""
        if end == len(self.data):
            self.data, self.at = b"", 0
        else:
            self.at = end

    def take(self, size: int) -> bytes:
        """Use up to `size` bytes of what is there."""
        end = min(self.at + size, len(self.data))
        taken = bytes(self.data[self.at : end])
        self.use(end)
        return taken

    async def more(self) -> bool:
        """Wait for bytes and add them; False at the end of the client's sending. Raises one of `BROKEN`."""
        self._readers += 1
        try:
            if self._watching is not None:
                before = len(self.data)
                await self.stop_watching()
                if len(self.data) > before:
                    return True
            got = await self._stream.receive(b"")
        finally:
            self._readers -= 1
        self._add(got)
        return bool(len(got))

    async def more_to_look_at(self) -> bool:
        """As `more`, but for bytes that are not taken elsewhere: those do not wake the task."""
        stream, readiness = self._stream, self._readiness
        if readiness is None or not isinstance(stream, SocketStream) or self._watching is not None:
            return await self.more()
        if stream.descriptor < 0:
            raise trio.ClosedResourceError("this side has closed the connection")
        self._task = trio.lowlevel.current_task()
        self._readers += 1
        readiness.watch(stream.descriptor, partial(self._look, stream))
        await trio.lowlevel.wait_task_rescheduled(self._stop_looking)
        if isinstance(self._arrived, Exception):
            raise self._arrived
        return self._arrived

    def _look(self, stream: SocketStream) -> None:
        """Take what has come; wake the task unless it is taken."""
        try:
            got = stream.receive_nowait()
            if got is None or (got and self.at == len(self.data) and self._is_whole(bytes(got))):
                return
            self._arrived = bool(got)
            if got:
                self._add(got)
                if self._is_taken():
                    return
        except Exception as error:  # noqa: BLE001  # the boundary of the connection is in its task, where this is raised
            self._arrived = error
        self._stop_looking()
        assert self._task is not None
        trio.lowlevel.reschedule(self._task)

    def _stop_looking(self, _: object = None) -> trio.lowlevel.Abort:
        assert self._readiness is not None
        assert isinstance(self._stream, SocketStream)
        self._readers -= 1
        self._readiness.forget(self._stream.descriptor)
        return trio.lowlevel.Abort.SUCCEEDED

    def _add(self, got: memoryview) -> None:
        if self.is_empty:
            self.data, self.at = bytes(got), 0
            return
        if self.at > _COMPACT or not isinstance(self.data, bytearray):
            self.data, self.at = bytearray(self.data[self.at :]), 0
        self.data += got

    def watch(self, nursery: trio.Nursery) -> None:
        """Read ahead, within a bound, until `more` is asked for; call `left` when the client leaves."""
        self._watching, self._watch_ended = trio.CancelScope(), trio.Event()
        nursery.start_soon(self._watch, self._watching, name="client watch")

    async def _watch(self, scope: trio.CancelScope) -> None:
        try:
            with scope:
                while len(self.data) - self.at < _AHEAD:
                    got = await self._stream.receive(b"")
                    if not len(got):
                        self._left()
                        break
                    self._add(got)
        except BROKEN:
            self._left()
        finally:
            self._watching = None
            self._watch_ended.set()

    async def discard(self) -> None:
        """Read and forget what still comes, until the client ends. From now on nothing is watched. Raises one of `BROKEN`."""
        self._readers += 1
        await self.stop_watching()
        while len(await self._stream.receive(b"")):
            pass

    async def stop_watching(self) -> None:
        """End the reading ahead, if there is any; what it has read stays."""
        if self._watching is not None:
            self._watching.cancel(reason="the bytes are wanted")
            await self._watch_ended.wait()
