"""Accepting connections and ending them in order: what every server behind the seam does alike."""

from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

import attrs
import trio

from .seam import Listeners

_LAST_WORDS: Final = 1.0


class Conversation(Protocol):
    """One connection, as the one who accepted it sees it."""

    async def run(self) -> None:
        """Serve until either side closes; never raises an `Exception`. Cancelled, it cuts the connection."""
        ...

    def close_if_idle(self) -> None:
        """Close now unless a request is being answered."""
        ...

    def limit_last_words(self, deadline: float) -> None:
        """Cut the answer that is being written at `deadline` (Trio's clock)."""
        ...


C = TypeVar("C", bound=Conversation)


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
class Listening(Generic[C]):
    """The accept loop of a server and its connections, at most `bound` of them."""

    bound: int
    stop: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set by `request_stop`: running requests are the last ones."""

    connections: dict[C, None] = attrs.field(factory=dict, init=False)
    _accepting: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def serve(
        self,
        listeners: Listeners,
        converse: Callable[[trio.abc.Stream, trio.Nursery], C],
        *background: Callable[[], Awaitable[None]],
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Accept until cancelled, or until `request_stop` and the last answer. `background` runs beside it.

        `converse` makes a connection of an accepted stream, or raises OSError if the peer has gone already; the nursery
        is for tasks of the connection.
        """
        room = trio.Semaphore(self.bound)
        bounded = [_Bounded(listener, room) for listener in listeners]
        async with trio.open_nursery() as server:
            server.start_soon(self._limit_last_words, name="last words")
            for task in background:
                server.start_soon(task)
            async with trio.open_nursery() as nursery:

                async def take(stream: trio.abc.Stream) -> None:
                    try:
                        connection = converse(stream, nursery)
                    except OSError:
                        return  # the peer was gone before its connection began
                    else:
                        await self._take(connection)
                    finally:
                        room.release()

                task_status.started()
                with self._accepting:
                    await trio.serve_listeners(take, bounded, handler_nursery=nursery)
                await self.stop.wait()
            server.cancel_scope.cancel(reason="every connection has ended")

    def stop_accepting(self) -> None:
        """Close the listeners; open connections go on."""
        self._accepting.cancel(reason="no more connections are taken")

    def request_stop(self) -> None:
        """Stop accepting, close idle connections, and let every request that runs have its answer."""
        self.stop_accepting()
        self.stop.set()
        for connection in tuple(self.connections):
            connection.close_if_idle()

    async def _take(self, connection: C) -> None:
        self.connections[connection] = None
        try:
            await connection.run()
        finally:
            del self.connections[connection]

    async def _limit_last_words(self) -> None:
        """Answers are written under a shield, so that a stop does not cut them; from its moment on they have one second."""
        try:
            await trio.sleep_forever()
        finally:
            deadline = trio.current_time() + _LAST_WORDS
            for connection in tuple(self.connections):
                connection.limit_last_words(deadline)
