"""The telemetry endpoint `/otel`: takes what SDKs send and answers nothing but pings (wire-protocol 1.2)."""

import attrs
import trio

from iii_trio.sockets import CloseReason, WebSocket


@attrs.define(eq=False)
class TelemetrySink:
    """One telemetry connection. It is not a worker: no id, no listing, no events."""

    socket: WebSocket
    reason: CloseReason | None = None
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> None:
        """Read until the peer or the engine ends it."""
        try:
            with self._reading:
                while await self.socket.receive_batch():
                    pass
            self.reason = self.reason or self.socket.ended
        finally:
            self.reason = self.reason or CloseReason.KILLED
            await self.socket.close(self.reason)

    def stop(self, reason: str) -> None:
        """End the connection for a reason."""
        self.reason = self.reason or CloseReason(reason)
        self._reading.cancel(reason=reason)

    def tick(self, now: float) -> None:
        """Nothing is due on a telemetry connection."""
