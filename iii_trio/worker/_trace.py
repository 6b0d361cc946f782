"""The trace a task works for: calls made while handling an invocation belong to its trace (wire-protocol 5.7)."""

from contextvars import ContextVar
from typing import Final

Trace = tuple[str | None, str | None]
"""`traceparent` and `baggage`, as W3C texts."""

NO_TRACE: Final[Trace] = (None, None)
current_trace: Final[ContextVar[Trace]] = ContextVar("iii_trio.worker.trace", default=NO_TRACE)
