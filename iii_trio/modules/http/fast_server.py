"""The engine's own HTTP/1.1 server: the socket driven directly, one task per connection (ADR 11)."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

import attrs
import trio

from iii_trio.sockets import IS_AVAILABLE, Readiness, own_stream

from .answer import Answers, Dates, Moment
from .fast_connection import LOOK_EVERY, FastConnection, Shared
from .fast_outbound import Departures
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
        shortcuts: Shortcuts | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and answer until cancelled, or until `request_stop` and the last answer."""
        departures = Departures()
        readiness = Readiness() if IS_AVAILABLE and shortcuts is not None else None
        moment = Moment(Dates(self.now))
        shared = Shared(
            handler, shortcuts, self.limits, moment, Answers(moment), departures, readiness, self._listening.stop
        )
        buffer = memoryview(bytearray(_RECEIVE_SIZE))

        def converse(stream: trio.abc.Stream, nursery: trio.Nursery) -> FastConnection:
            return FastConnection(own_stream(stream, buffer), shared, nursery)

        with ExitStack() as stack:
            if readiness is not None and shortcuts is not None:
                stack.enter_context(shortcuts.fed_by(_Arrivals(readiness, departures)))
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
    """Requests as a source of calls, whose answers leave together."""

    _readiness: Readiness
    _departures: Departures

    async def wait(self) -> None:
        await self._readiness.wait()

    def collect(self) -> None:
        self._departures.hold()
        self._readiness.collect()

    def done(self) -> None:
        self._departures.release()
