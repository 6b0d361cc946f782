"""The engine's own HTTP/1.1 server: the socket driven directly, one task per connection (ADR 11)."""

from collections.abc import Callable
from typing import Final

import attrs
import trio

from iii_trio.sockets import own_stream

from .answer import Answers, Dates
from .fast_connection import FastConnection, Shared
from .listening import Listening
from .seam import FindShortcut, Listeners, RequestHandler, ServerLimits

_LOOK_EVERY: Final = 0.25
_RECEIVE_SIZE: Final = 64 * 1024
"""What a connection holds of requests sent ahead is at most this and what is read ahead (`fast_inbound.py`)."""


@attrs.define(eq=False)
class FastServer:
    """Serves HTTP/1.1 and 1.0, as strictly as http.md 13 asks for.

    Args:
      now: seconds since the epoch, for `date`.
      limits: what is taken from a peer. Waits for a request end within a quarter of a second after their time;
        from half a second on it is watched whether the client of a running request is still there.
    """

    now: Callable[[], float]
    limits: ServerLimits = attrs.field(factory=ServerLimits)
    _listening: Listening[FastConnection] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listening = Listening(self.limits.connections)

    async def serve(
        self,
        listeners: Listeners,
        handler: RequestHandler,
        *,
        find_shortcut: FindShortcut | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and answer until cancelled, or until `request_stop` and the last answer."""
        shared = Shared(handler, find_shortcut, self.limits, Answers(Dates(self.now)), self._listening.stop)
        buffer = memoryview(bytearray(_RECEIVE_SIZE))

        def converse(stream: trio.abc.Stream, nursery: trio.Nursery) -> FastConnection:
            return FastConnection(own_stream(stream, buffer), shared, nursery)

        await self._listening.serve(listeners, converse, self._look_around, task_status=task_status)

    def stop_accepting(self) -> None:
        self._listening.stop_accepting()

    def request_stop(self) -> None:
        self._listening.request_stop()

    async def _look_around(self) -> None:
        """Keep the deadlines of all connections: one timer for all of them."""
        while True:
            await trio.sleep(_LOOK_EVERY)
            now = trio.current_time()
            for connection in tuple(self._listening.connections):
                connection.look(now)
