"""JSON Schemas of what the engine's own functions answer (wire-protocol 13.7), in the shapes of 0.13 and later."""

from typing import Final

from iii_trio.protocol import Json


def record(required: dict[str, Json], **optional: Json) -> Json:
    """An object with these members."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def rows(item: Json) -> Json:
    """An array of these."""
    return {"type": "array", "items": item}


def or_null(schema: Json) -> Json:
    """This, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


ANY: Final[Json] = {}
TEXT: Final[Json] = {"type": "string"}
NUMBER: Final[Json] = {"type": "integer"}
FLAG: Final[Json] = {"type": "boolean"}

SUCCESS: Final = record({"success": FLAG})
CREATED: Final = record({"id": TEXT})
CHANNEL_REF: Final = record({"channel_id": TEXT, "access_key": TEXT, "direction": {"enum": ["read", "write"]}})
CHANNEL: Final = record({"writer": CHANNEL_REF, "reader": CHANNEL_REF})
REMOVED: Final = record({"removed": FLAG})

FUNCTION_ROW: Final = record(
    {"function_id": TEXT, "worker_name": TEXT, "namespace": TEXT}, description=TEXT, metadata=ANY
)
FUNCTIONS: Final = record({"functions": rows(FUNCTION_ROW)})
FUNCTION: Final = record(
    {
        "function_id": TEXT,
        "namespace": TEXT,
        "worker_name": TEXT,
        "registered_triggers": rows(record({"id": TEXT, "trigger_type": TEXT, "config": ANY})),
    },
    description=TEXT,
    request_schema=ANY,
    response_schema=ANY,
    metadata=ANY,
)
NO_FUNCTION: Final = record({"function_id": TEXT, "error": {"enum": ["not_found", "forbidden"]}})
FUNCTION_OR_BATCH: Final[Json] = {
    "anyOf": [FUNCTION, record({"functions": rows({"anyOf": [FUNCTION, NO_FUNCTION]})})],
}

_WORKER_MEMBERS: Final[dict[str, Json]] = {
    "id": TEXT,
    "name": or_null(TEXT),
    "description": or_null(TEXT),
    "runtime": TEXT,
    "version": or_null(TEXT),
    "os": or_null(TEXT),
    "status": {"enum": ["connected", "available", "busy", "disconnected"]},
    "connected_at_ms": NUMBER,
    "function_count": NUMBER,
    "active_invocations": NUMBER,
    "ip_address": or_null(TEXT),
    "isolation": or_null(TEXT),
    "namespace": TEXT,
}
WORKERS: Final = record({"workers": rows(record(_WORKER_MEMBERS))})

TRIGGER_TYPE_ROW: Final = record({"id": TEXT, "namespace": TEXT, "worker_name": TEXT, "description": TEXT})
TRIGGER_TYPES: Final = record({"triggers": rows(TRIGGER_TYPE_ROW)})
TRIGGER_TYPE: Final = record(
    {"id": TEXT, "namespace": TEXT, "worker_name": TEXT, "description": TEXT, "instance_count": NUMBER},
    configuration_schema=ANY,
    request_schema=ANY,
    response_schema=ANY,
)
OLD_TRIGGER_TYPES: Final = record(
    {
        "trigger_types": rows(
            record({"id": TEXT, "description": TEXT}, trigger_request_format=ANY, call_request_format=ANY)
        )
    }
)

_TRIGGER_MEMBERS: Final[dict[str, Json]] = {"id": TEXT, "trigger_type": TEXT, "function_id": TEXT, "worker_name": TEXT}
TRIGGER_ROW: Final = record({**_TRIGGER_MEMBERS, "config": ANY, "config_summary": TEXT})
TRIGGERS: Final = record({"registered_triggers": rows(TRIGGER_ROW)})
TRIGGER: Final = record(
    {**_TRIGGER_MEMBERS, "config": ANY, "trigger": or_null(TRIGGER_TYPE), "function": or_null(FUNCTION)}, metadata=ANY
)

WORKER: Final = record(
    {
        "worker": record({**_WORKER_MEMBERS, "internal": FLAG}, pid=NUMBER, latest_metrics=ANY),
        "functions": rows(FUNCTION_ROW),
        "trigger_types": rows(TRIGGER_TYPE_ROW),
        "registered_triggers": rows(TRIGGER_ROW),
    }
)

EXIT: Final = record({"reason": {"enum": ["finished", "stopped", "crashed"]}, "error": or_null(TEXT)})
NODE: Final[Json] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": record(
            {
                "path": TEXT,
                "kind": TEXT,
                "strategy": or_null(TEXT),
                "state": TEXT,
                "incarnation": NUMBER,
                "restarts_in_window": NUMBER,
                "last_exit": or_null(EXIT),
                "mailbox_depth": or_null(NUMBER),
                "children": rows({"$ref": "#/$defs/node"}),
            }
        )
    },
}
