"""Why a connection ended: every close has exactly one reason, counted and shown."""

from enum import StrEnum


class CloseReason(StrEnum):
    """The reasons. Values are stable: they appear in statistics and logs."""

    PEER_CLOSED = "peer_closed"
    PEER_GONE = "peer_gone"
    PROTOCOL_ERROR = "protocol_error"
    NOT_UTF8 = "not_utf8"
    TOO_BIG = "too_big"
    IDLE = "idle"
    SLOW_CONSUMER = "slow_consumer"
    REATTACHED = "reattached"
    NAME_CONFLICT = "name_conflict"
    CHANNEL_ENDED = "channel_ended"
    CHANNEL_TAKEN = "channel_taken"
    CHANNEL_UNREAD = "channel_unread"
    AUTH_FAILED = "auth_failed"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    KILLED = "killed"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    HANDSHAKE_REFUSED = "handshake_refused"
    TOO_MANY_CONNECTIONS = "too_many_connections"


CLOSE_CODES = {
    CloseReason.PEER_CLOSED: 1000,
    CloseReason.PROTOCOL_ERROR: 1002,
    CloseReason.NOT_UTF8: 1007,
    CloseReason.TOO_BIG: 1009,
    CloseReason.SHUTDOWN: 1012,
    CloseReason.CRASHED: 1011,
    CloseReason.NAME_CONFLICT: None,
    CloseReason.CHANNEL_TAKEN: None,
    CloseReason.AUTH_FAILED: 1008,
}
"""Reasons that are said with a `Close` frame, and its status (None = without one; wire-protocol 1.3).

At shutdown 1012 (service restart): Python SDKs before 0.25 take 1001 for a regular end and never reconnect. The same
with a `Close` without status, so a peer that was not let in gets 1008 (policy violation) and tries again.
"""
