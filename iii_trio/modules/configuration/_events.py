"""What happens to entries, as the triggers of type `configuration` are told."""

from enum import StrEnum
from typing import Any

import attrs

from iii_trio.protocol import Json, Payload

from .store import Stored


class EventType(StrEnum):
    """The names by which triggers choose."""

    REGISTERED = "configuration:registered"
    UPDATED = "configuration:updated"
    DELETED = "configuration:deleted"


@attrs.frozen
class Event:
    """One change of one entry, encoded once for whoever follows it."""

    type: EventType
    entry_id: str
    payload: Payload

    @classmethod
    def of(cls, kind: EventType, entry: Stored, schema: Json, old_value: Json, new_value: Json) -> "Event":
        """The event of a change; values with their variables put in."""
        said: dict[str, Any] = {
            "type": "configuration",
            "event_type": kind,
            "id": entry.id,
            "name": entry.name,
            "description": entry.description,
            "schema": schema,
            "old_value": old_value,
            "new_value": new_value,
        }
        if entry.metadata is not None:
            said["metadata"] = entry.metadata
        return cls(kind, entry.id, Payload.of(said))
