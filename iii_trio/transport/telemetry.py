"""The telemetry endpoint `/otel`: takes what SDKs send and answers nothing but pings (wire-protocol 1.2)."""

from collections.abc import Callable

import attrs
import trio

from iii_trio.sockets import CloseReason, WebSocket


@attrs.define(eq=False, repr=False)
class TelemetrySink:
    """One telemetry connection. It is not a worker: no id, no listing, no events."""

    socket: WebSocket
    count_end: Callable[[CloseReason], None]
    """Told the reason, once, at the moment it is decided."""

    reason: CloseReason | None = None
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> None:
        """Read until the peer or the engine ends it."""
        try:
            with self._reading:
                while await self.socket.receive_batch():
                    pass
            self._conclude(self.socket.ended or CloseReason.CRASHED)
        finally:
            self._conclude(CloseReason.KILLED)
            assert self.reason is not None
            await self.socket.close(self.reason)

    def stop(self, reason: str) -> None:
        """End the connection for a reason."""
        self._conclude(CloseReason(reason))
        self._reading.cancel(reason=reason)

    def _conclude(self, reason: CloseReason) -> None:
        if self.reason is None:
            self.reason = reason
            self.count_end(reason)

    def tick(self, now: float) -> None:
        """Nothing is due on a telemetry connection."""
