"""Frames in and out: the seam to the network, WebSockets driven in batches, bounded outboxes, heartbeats."""

from .frames import BATCH, MAX_FRAME, MAX_MESSAGE, FrameSplitter, binary_header, close_frame, frame_header
from .handshake import KnownPath, Query, Refusal, Upgrade, read_upgrade, refusal_response
from .heartbeat import Heartbeat
from .large import SpareBuffers
from .outbox import Outbox, OutboxLimits, OutboxStatistics, Turn, without_first
from .readiness import IS_AVAILABLE, Readiness
from .reasons import CLOSE_CODES, CloseReason
from .stream import BROKEN, RECEIVE_SIZE, ByteStream, SocketStream, TrioStream, own_stream
from .websocket import Message, WebSocket

__all__ = [
    "BATCH",
    "BROKEN",
    "CLOSE_CODES",
    "IS_AVAILABLE",
    "MAX_FRAME",
    "MAX_MESSAGE",
    "RECEIVE_SIZE",
    "ByteStream",
    "CloseReason",
    "FrameSplitter",
    "Heartbeat",
    "KnownPath",
    "Message",
    "Outbox",
    "OutboxLimits",
    "OutboxStatistics",
    "Query",
    "Readiness",
    "Refusal",
    "SocketStream",
    "SpareBuffers",
    "TrioStream",
    "Turn",
    "Upgrade",
    "WebSocket",
    "binary_header",
    "close_frame",
    "frame_header",
    "own_stream",
    "read_upgrade",
    "refusal_response",
    "without_first",
]
