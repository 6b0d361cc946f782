"""`engine::log::{trace,debug,info,warn,error}`: one line each in the engine's log (observability 4.1)."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Final

from msgspec import Meta, Raw, Struct, field

from iii_trio.kernel import Call
from iii_trio.kernel.labels import shown
from iii_trio.modules.built_in import BuiltIn
from iii_trio.protocol import Json, is_null
from iii_trio.protocol.messages import ABSENT

_log = logging.getLogger("iii_trio.function")
_LEVELS: Final = (
    ("trace", logging.DEBUG),
    ("debug", logging.DEBUG),
    ("info", logging.INFO),
    ("warn", logging.WARNING),
    ("error", logging.ERROR),
)
_TEXT_LIMIT: Final = 8_192
"""Characters of a message, and of its data, that reach the log."""

_NOTHING: Final[Json] = {"type": "null"}
Text = str | None


class LogEntry(Struct, frozen=True):
    """A line for the engine's log. Unknown members are ignored."""

    message: Annotated[str, Meta(description="What happened.")]
    data: Annotated[Raw, Meta(description="Structured details.")] = field(default_factory=lambda: ABSENT)
    trace_id: Annotated[Text, Meta(description="The trace it belongs to.")] = None
    span_id: Annotated[Text, Meta(description="The span it belongs to.")] = None
    service_name: Annotated[Text, Meta(description="Who says it; unknown if left out.")] = None


def log_functions() -> Iterator[BuiltIn]:
    """One function per level. They answer without a value, whether or not the level is shown."""
    for name, level in _LEVELS:
        yield BuiltIn.of(
            f"engine::log::{name}",
            f"Writes a line of level {name} to the engine's log.",
            LogEntry,
            _NOTHING,
            partial(_write, level),
        )


def _write(level: int, call: Call, entry: LogEntry) -> Json:
    if _log.isEnabledFor(level):
        _log.log(level, "%s", shown(entry.message, _TEXT_LIMIT), extra=_fields(call, entry))
    return None


def _fields(call: Call, entry: LogEntry) -> dict[str, str]:
    """What stands beside the message, without what was not given."""
    data = memoryview(entry.data)
    members = {
        "service": entry.service_name or "unknown",
        "data": "" if is_null(entry.data) else _start_of(data),
        "trace_id": entry.trace_id,
        "span_id": entry.span_id,
        "worker": call.caller.id if call.caller is not None else None,
    }
    return {name: shown(text, _TEXT_LIMIT) for name, text in members.items() if text}


def _start_of(text: memoryview) -> str:
    """As much of JSON text as is shown, and one character more; a character cut in two is left out."""
    return bytes(text[: 4 * _TEXT_LIMIT + 4]).decode(errors="ignore")
