"""Rows of the introspection functions in both generations of shapes (wire-protocol 13.2 - 13.6, 13.9).

Pure functions of kernel records. JSON that workers gave (schemas, metadata, configs) goes in as the text it came as.
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs
from msgspec import Raw

from iii_trio.kernel import Function, Trigger, TriggerType, Worker
from iii_trio.kernel.workers import parse_version
from iii_trio.protocol import Json, Payload, decode_json, encode_json
from iii_trio.protocol.errors import IIIError

Row = dict[str, Json]
_NEW_SHAPES = (0, 13, 0)
_JSON_SCHEMAS = (0, 10, 0)
_SUMMARY_LIMIT = 80
_PROVIDERS: Final = MappingProxyType(
    {
        "http": "iii-http",
        "cron": "iii-cron",
        "subscribe": "iii-pubsub",
        "state": "iii-state",
        "durable:subscriber": "queue",
        "stream": "iii-stream",
        "stream:join": "iii-stream",
        "stream:leave": "iii-stream",
        "log": "iii-observability",
        "trace": "iii-observability",
        "configuration": "configuration",
    }
)


@attrs.frozen
class Reader:
    """Who reads a list, by SDK version: None for callers inside the engine, raw clients and those that never announced."""

    version: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, worker: Worker | None) -> "Reader":
        """The reader behind a connection."""
        return cls(parse_version(worker.version) if worker is not None else None)

    @property
    def is_old(self) -> bool:
        """Whether it gets the shapes of 0.12 (13.9)."""
        return self.version is not None and self.version < _NEW_SHAPES

    @property
    def knows_schemas(self) -> bool:
        """Whether its typed parser survives a JSON Schema in `request_format`."""
        return self.version is None or self.version >= _JSON_SCHEMAS


@attrs.frozen
class ModuleRow:
    """A module inside the engine as `engine::workers::list` shows it (13.4).

    `id` is the configuration entry's name, `#1` and so on appended for further entries of one module, and the id of its
    owner; `version` the engine's; `started_at` in seconds since the epoch; `internal` if the engine cannot do without it.
    """

    id: str
    name: str
    version: str | None = None
    started_at: float = 0.0
    description: str | None = None
    internal: bool = False


def first_segment(identifier: str) -> str:
    """What stands before the first `::`, or all of it."""
    return identifier.partition("::")[0]


def owner_name(function: Function) -> str:
    """The name of who hosts a function, guessed from the id if it has none."""
    return function.owner.name or first_segment(function.id)


def provider_name(kind: TriggerType) -> str:
    """The name of who serves a trigger type (13.6)."""
    if isinstance(kind.owner, Worker) and kind.owner.name is not None:
        return kind.owner.name
    return _PROVIDERS.get(kind.id) or first_segment(kind.id)


def target_name(trigger: Trigger, function: Function | None) -> str:
    """The name of who hosts what a trigger fires, guessed from the id if that is missing."""
    return owner_name(function) if function is not None else first_segment(trigger.function_id)


def function_row(function: Function, reader: Reader) -> Row:
    """A row of `engine::functions::list` (13.2)."""
    if reader.is_old:
        return {
            "function_id": function.id,
            "description": function.description,
            "request_format": _format_for(reader, function.request_format),
            "response_format": _format_for(reader, function.response_format),
            "metadata": _text(function.metadata),
        }
    return {
        "function_id": function.id,
        "worker_name": owner_name(function),
        "namespace": function.namespace,
        **present(description=function.description, metadata=_text(function.metadata)),
    }


def function_info(function: Function, triggers: Iterable[Trigger]) -> Row:
    """The answer of `engine::functions::info` about one function; `triggers` are the live ones that fire it (13.3)."""
    return {
        "function_id": function.id,
        "namespace": function.namespace,
        "worker_name": owner_name(function),
        **present(
            description=function.description,
            request_schema=_text(function.request_format),
            response_schema=_text(function.response_format),
            metadata=_text(function.metadata),
        ),
        "registered_triggers": [
            {"id": trigger.id, "trigger_type": trigger.trigger_type, "config": trigger.config.raw}
            for trigger in triggers
        ],
    }


def connection_row(worker: Worker, reader: Reader) -> Row:
    """A connected worker in `engine::workers::list` (13.4)."""
    row: Row = {
        "id": worker.id,
        "name": worker.name,
        "runtime": worker.runtime,
        "version": worker.version,
        "os": worker.os,
        "status": "connected",
        "connected_at_ms": milliseconds(worker.connected_at),
        "function_count": len(worker.functions),
        "active_invocations": _active_invocations(worker),
        "ip_address": worker.ip_address,
    }
    if reader.is_old:
        return {
            **row,
            **_old_members(worker.functions.values(), internal=False),
            **present(pid=worker.pid, isolation=worker.isolation),
        }
    return {**row, "isolation": worker.isolation, "description": worker.description, "namespace": worker.home}


def module_row(module: ModuleRow, functions: Sequence[Function], reader: Reader) -> Row:
    """A module inside the engine, which owns `functions`, in `engine::workers::list` (13.4)."""
    row: Row = {
        "id": module.id,
        "name": module.name,
        "runtime": "engine",
        "version": module.version,
        "os": None,
        "status": "available",
        "connected_at_ms": milliseconds(module.started_at),
        "function_count": len(functions),
        "active_invocations": 0,
        "ip_address": None,
        "isolation": "in-process",
    }
    if reader.is_old:
        return {**row, **_old_members(functions, internal=module.internal)}
    return {**row, "description": module.description, "namespace": "default"}


def trigger_type_row(kind: TriggerType) -> Row:
    """A row of `engine::triggers::list` since 0.13 (13.6)."""
    return {
        "id": kind.id,
        "namespace": kind.namespace,
        "worker_name": provider_name(kind),
        "description": kind.description,
    }


def old_trigger_type_row(kind: TriggerType) -> Row:
    """A row of `engine::trigger-types::list` (13.6)."""
    return {
        "id": kind.id,
        "description": kind.description,
        **present(
            trigger_request_format=_text(kind.trigger_request_format),
            call_request_format=_text(kind.call_request_format),
        ),
    }


def trigger_type_info(kind: TriggerType, instances: int) -> Row:
    """The answer of `engine::triggers::info` (13.6)."""
    return {
        **trigger_type_row(kind),
        **present(
            configuration_schema=_text(kind.trigger_request_format),
            request_schema=_text(kind.call_request_format),
            response_schema=_text(kind.response_format),
        ),
        "instance_count": instances,
    }


def trigger_row(trigger: Trigger, function: Function | None) -> Row:
    """A row of `engine::registered-triggers::list` (13.6)."""
    return {
        "id": trigger.id,
        "trigger_type": trigger.trigger_type,
        "function_id": trigger.function_id,
        "worker_name": target_name(trigger, function),
        "config": trigger.config.raw,
        "config_summary": config_summary(trigger.config),
    }


def old_trigger_row(trigger: Trigger) -> Row:
    """A row of `engine::triggers::list` up to 0.12 (13.6)."""
    return {
        "id": trigger.id,
        "trigger_type": trigger.trigger_type,
        "function_id": trigger.function_id,
        "config": trigger.config.raw,
        **present(metadata=_text(trigger.metadata)),
    }


def config_summary(config: Payload) -> str:
    """A config as compact JSON, cut to 80 characters and an ellipsis."""
    try:
        text = encode_json(decode_json(memoryview(config.raw))).decode()
    except IIIError:  # lone surrogates, or nested too deeply to be read: shown as it came
        text = bytes(config.raw).decode()
    return text if len(text) <= _SUMMARY_LIMIT else f"{text[:_SUMMARY_LIMIT]}…"


def milliseconds(moment: float) -> int:
    """Seconds since the epoch as the wire counts them."""
    return int(moment * 1000)


def present(**members: Json) -> Row:
    """The members that have a value."""
    return {name: value for name, value in members.items() if value is not None}


def _old_members(functions: Iterable[Function], *, internal: bool) -> Row:
    ids = sorted(function.id for function in functions)
    return {"functions": ids, "latest_metrics": None, "internal": internal}


def _active_invocations(worker: Worker) -> int:
    """What it executes, and the calls it waits for; nobody waits for a void call."""
    waits = sum(row.reply_id is not None or row.answer is not None for row in worker.calling.values())
    return len(worker.executing) + waits


def _text(payload: Payload | None) -> Raw | None:
    return payload.raw if payload is not None else None


def _format_for(reader: Reader, payload: Payload | None) -> Raw | None:
    """A schema as an old reader can take it: SDKs before 0.10 know only `{name, type, ...}` (13.9)."""
    if payload is None or reader.knows_schemas:
        return _text(payload)
    value = json_or_none(payload)
    typed = isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("type"), str)
    return payload.raw if typed else None


def json_or_none(payload: Payload | None) -> Any:
    """What a worker gave as JSON, or None if it cannot be read: no row may fail for it."""
    if payload is None:
        return None
    try:
        return payload.value
    except IIIError:
        return None
