"""The first server behind the seam: hypercorn's HTTP/1.1 protocol, on listeners that the engine gives."""

from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Final

import attrs
import trio

from .hypercorn_connection import Connection
from .hypercorn_protocol import Settings, hypercorn_config
from .seam import Listeners, RequestHandler, ServerLimits

_LAST_WORDS: Final = 1.0


@attrs.frozen(eq=False)
class _Bounded(trio.abc.Listener[trio.abc.Stream]):
    """A listener that accepts only while there is room; the system's backlog holds the rest."""

    _listener: trio.abc.Listener[trio.abc.Stream]
    _room: trio.Semaphore

    async def accept(self) -> trio.abc.Stream:
        await self._room.acquire()
        try:
            return await self._listener.accept()
        except BaseException:
            self._room.release()
            raise

    async def aclose(self) -> None:
        await self._listener.aclose()


@attrs.define(eq=False)
class HypercornServer:
    """Serves HTTP/1.1 with hypercorn's protocol classes.

    hypercorn's own TCP server is not used: it writes under a shield without a deadline, forgets to close the channel of
    every request, and hangs when an answer is given while more than ten pieces of the body are unread.

    What it cannot do, because h11 does not: keep an HTTP/1.0 connection alive, take raw UTF-8 in a target, a request
    without `host` or `transfer-encoding: gzip, chunked`, wait with `100 Continue` until the body is read.

    Args:
      now: seconds since the epoch, for `date`.
      limits: what is taken from a peer.
    """

    now: Callable[[], float]
    limits: ServerLimits = attrs.field(factory=ServerLimits)
    _accepting: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _stop: trio.Event = attrs.field(factory=trio.Event, init=False)
    _connections: dict[Connection, None] = attrs.field(factory=dict, init=False)
    _date: tuple[int, bytes] = attrs.field(default=(0, b""), init=False)

    async def serve(
        self,
        listeners: Listeners,
        handler: RequestHandler,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and answer until cancelled, or until `request_stop` and the last answer."""
        settings = Settings(handler, self.limits, hypercorn_config(), self._stop, self._date_field)
        room = trio.Semaphore(self.limits.connections)
        bounded = [_Bounded(listener, room) for listener in listeners]
        async with trio.open_nursery() as server:
            server.start_soon(self._limit_last_words, name="last words")
            async with trio.open_nursery() as connections:
                task_status.started()
                with self._accepting:
                    await trio.serve_listeners(
                        partial(self._serve, settings, room), bounded, handler_nursery=connections
                    )
                await self._stop.wait()
            server.cancel_scope.cancel(reason="every connection has ended")

    def stop_accepting(self) -> None:
        self._accepting.cancel(reason="no more connections are taken")

    def request_stop(self) -> None:
        self.stop_accepting()
        self._stop.set()
        for connection in tuple(self._connections):
            connection.close_if_idle()

    async def _serve(self, settings: Settings, room: trio.Semaphore, stream: trio.abc.Stream) -> None:
        connection = Connection(stream, settings)
        self._connections[connection] = None
        try:
            await connection.run()
        finally:
            del self._connections[connection]
            room.release()

    async def _limit_last_words(self) -> None:
        """Answers are written under a shield, so that a stop does not cut them; from its moment on they have one second."""
        try:
            await trio.sleep_forever()
        finally:
            for connection in self._connections:
                connection.speaking.deadline = trio.current_time() + _LAST_WORDS

    def _date_field(self) -> tuple[bytes, bytes]:
        second = int(self.now())
        if second != self._date[0]:
            self._date = second, formatdate(second, usegmt=True).encode()
        return b"date", self._date[1]
