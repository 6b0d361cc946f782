"""The engine's own HTTP/1.1 server: the socket driven directly, one task per connection (ADR 11)."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

import attrs
import trio

from iii_trio.sockets import IS_AVAILABLE, Readiness, Turn, own_stream

from .answer import Answers, Dates, Moment
from .fast_connection import LOOK_EVERY, FastConnection, Shared
from .listening import Listening
from .seam import Listeners, RequestHandler, ServerLimits, Shortcuts

_RECEIVE_SIZE: Final = 64 * 1024
"""What a connection holds of requests sent ahead is at most this and what is read ahead (`fast_inbound.py`)."""


@attrs.define(eq=False)
class FastServer:
    """Serves HTTP/1.1 and 1.0, as strictly as http.md 13 asks for.

    Args:
      now: seconds since the epoch, for `date`.
      limits: what is taken from a peer. Waits for a request end within a quarter of a second after their time;
        from half a second on it is watched whether the client of a running request is still there.
      turn: the turn that all connections of an engine have in common.
    """

    now: Callable[[], float]
    limits: ServerLimits = attrs.field(factory=ServerLimits)
    turn: Turn = attrs.field(factory=Turn)
    _listening: Listening[FastConnection] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listening = Listening(self.limits.connections)

    async def serve(
        self,
        listeners: Listeners,
        handler: RequestHandler,
        *,
        shortcuts: Shortcuts | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and answer until cancelled, or until `request_stop` and the last answer."""
        readiness = Readiness() if IS_AVAILABLE and shortcuts is not None else None
        moment = Moment(Dates(self.now))
        shared = Shared(
            handler, shortcuts, self.limits, moment, Answers(moment), self.turn, readiness, self._listening.stop
        )
        buffer = memoryview(bytearray(_RECEIVE_SIZE))

        def converse(stream: trio.abc.Stream, nursery: trio.Nursery) -> FastConnection:
            return FastConnection(own_stream(stream, buffer), shared, nursery)

        with ExitStack() as stack:
            if readiness is not None and shortcuts is not None:
                stack.enter_context(shortcuts.fed_by(_Arrivals(readiness, self.turn)))
                stack.callback(readiness.close)
            look_around = partial(self._look_around, moment, shortcuts)
            await self._listening.serve(listeners, converse, look_around, task_status=task_status)

    def stop_accepting(self) -> None:
        self._listening.stop_accepting()

    def request_stop(self) -> None:
        self._listening.request_stop()

    async def _look_around(self, moment: Moment, shortcuts: Shortcuts | None) -> None:
        """Keep the deadlines of all connections: one timer for all of them."""
        while True:
            await trio.sleep(LOOK_EVERY)
            moment.look()
            if shortcuts is not None:
                shortcuts.look()
            for connection in tuple(self._listening.connections):
                connection.look(moment.now)


@attrs.frozen(eq=False)
class _Arrivals:
    """Requests as a source of calls; those that come together are one turn.

    Their answers leave together, once all their functions have run. Else functions run between two answers, long enough
    for the client to fall asleep, and each answer has to wake it, which costs more than all the rest of sending.
    """

    _readiness: Readiness
    _turn: Turn

    async def wait(self) -> None:
        await self._readiness.wait()

    def collect(self) -> None:
        self._turn.active = True
        self._readiness.collect()

    def done(self) -> None:
        self._turn.end()
