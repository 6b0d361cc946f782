"""Signs of life (wire-protocol 1.2): one task asks all quiet peers of a listener and ends those that stay silent."""

from collections.abc import Callable, Iterable
from typing import Protocol

import attrs
import trio

from .reasons import CloseReason
from .websocket import WebSocket

_SWEEP = 1.0


class Watched(Protocol):
    """A connection the heartbeat looks after."""

    socket: WebSocket

    def stop(self, reason: str) -> None:
        """End the connection."""
        ...

    def tick(self, now: float) -> None:
        """Look at whatever else is due on this connection."""
        ...


@attrs.frozen
class Heartbeat:
    """Seconds of silence after which a peer is pinged, and after which it is given up; 0 switches either off."""

    ping_after: float = 30.0
    idle_after: float = 180.0

    async def run(self, watched: Callable[[], Iterable[Watched]], now: Callable[[], float]) -> None:
        """Sweep once a second until cancelled."""
        while True:
            await trio.sleep(_SWEEP)
            moment = now()
            for connection in tuple(watched()):
                self.look(connection, moment)

    def look(self, connection: Watched, now: float) -> None:
        """Ping or end one connection, as its silence asks for."""
        socket = connection.socket
        silence = socket.silence(now)
        if self.idle_after and silence >= self.idle_after:
            connection.stop(CloseReason.IDLE)
            return
        if self.ping_after and silence >= self.ping_after and now - socket.pinged_at >= self.ping_after:
            socket.ping()
        connection.tick(now)
