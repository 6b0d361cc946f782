"""The first server behind the seam: hypercorn's HTTP/1.1 protocol, on listeners that the engine gives."""

from collections.abc import Callable

import attrs
import trio

from .answer import Dates
from .hypercorn_connection import Connection
from .hypercorn_protocol import Settings, hypercorn_config
from .listening import Listening
from .seam import Listeners, RequestHandler, ServerLimits


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
    _listening: Listening[Connection] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listening = Listening(self.limits.connections)

    async def serve(
        self,
        listeners: Listeners,
        handler: RequestHandler,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and answer until cancelled, or until `request_stop` and the last answer."""
        settings = Settings(handler, self.limits, hypercorn_config(), self._listening.stop, Dates(self.now))

        def converse(stream: trio.abc.Stream, _: trio.Nursery) -> Connection:
            return Connection(stream, settings)

        await self._listening.serve(listeners, converse, task_status=task_status)

    def stop_accepting(self) -> None:
        self._listening.stop_accepting()

    def request_stop(self) -> None:
        self._listening.request_stop()
