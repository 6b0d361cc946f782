"""Workers over WebSocket: the listener and the connection actor."""

from .connection import Connection
from .listener import ListenerSettings, ListenerStatistics, OpenListeners, WorkerListener

__all__ = ["Connection", "ListenerSettings", "ListenerStatistics", "OpenListeners", "WorkerListener"]
