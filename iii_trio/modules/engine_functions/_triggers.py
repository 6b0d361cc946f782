"""Trigger types and triggers as callers see them (wire-protocol 13.6). Parked triggers are never shown."""

import attrs

from iii_trio.kernel import DEFAULT_NAMESPACE, Call, Function, Kernel, Trigger, TriggerType
from iii_trio.modules.built_in import BuiltIn
from iii_trio.protocol import Json
from iii_trio.protocol.errors import NotFound

from . import _schemas as schemas
from ._functions import describe, triggers_by_target
from ._inputs import ListTriggers, ListTriggerTypes, TriggerInfo, TriggerTypeInfo
from ._rows import (
    Reader,
    Row,
    old_trigger_row,
    old_trigger_type_row,
    present,
    provider_name,
    target_name,
    trigger_row,
    trigger_type_info,
    trigger_type_row,
)

_INTERNAL = "engine::"


@attrs.frozen
class TriggerIntrospection:
    """Tells callers what can fire a function and what does."""

    kernel: Kernel

    def built_ins(self) -> tuple[BuiltIn, ...]:
        return (
            BuiltIn.of(
                "engine::triggers::list",
                "Lists the trigger types, with filters; to SDKs before 0.13, the triggers.",
                ListTriggerTypes,
                schemas.TRIGGER_TYPES,
                self.list_types,
            ),
            BuiltIn.of(
                "engine::trigger-types::list",
                "Lists the trigger types with their schemas.",
                ListTriggerTypes,
                schemas.OLD_TRIGGER_TYPES,
                self.list_types_with_schemas,
            ),
            BuiltIn.of(
                "engine::triggers::info",
                "Describes a trigger type with its schemas and how many triggers it has.",
                TriggerTypeInfo,
                schemas.TRIGGER_TYPE,
                self.type_info,
            ),
            BuiltIn.of(
                "engine::registered-triggers::list",
                "Lists the triggers that are live, with filters.",
                ListTriggers,
                schemas.TRIGGERS,
                self.list_triggers,
            ),
            BuiltIn.of(
                "engine::registered-triggers::info",
                "Describes a live trigger with its type and the function it fires.",
                TriggerInfo,
                schemas.TRIGGER,
                self.trigger_info,
            ),
        )

    def list_types(self, call: Call, asked: ListTriggerTypes) -> Json:
        """The trigger types; the triggers themselves if the caller's SDK is older than 0.13 (13.9)."""
        if Reader.of(call.caller).is_old:
            return {"triggers": self._old_triggers(include_internal=bool(asked.include_internal))}
        return {"triggers": [trigger_type_row(kind) for kind in self._chosen_types(asked)]}

    def list_types_with_schemas(self, _: Call, asked: ListTriggerTypes) -> Json:
        """The trigger types as 0.12 listed them, for every caller."""
        return {"trigger_types": [old_trigger_type_row(kind) for kind in self._chosen_types(asked)]}

    def type_info(self, _: Call, asked: TriggerTypeInfo) -> Json:
        """One trigger type. Raises NotFound."""
        namespace = DEFAULT_NAMESPACE if asked.namespace is None else asked.namespace
        kind = self.kernel.triggers.get_type(namespace, asked.id)
        if kind is None:
            raise NotFound(f"Trigger type '{asked.id}' is not registered in namespace '{namespace}'.")
        return self._type_info(kind)

    def list_triggers(self, _: Call, asked: ListTriggers) -> Json:
        """The live triggers by id."""
        pairs = [(trigger, target_of(self.kernel, trigger)) for trigger in live_triggers(self.kernel)]
        return {"registered_triggers": [trigger_row(*pair) for pair in pairs if _is_asked(*pair, asked)]}

    def trigger_info(self, _: Call, asked: TriggerInfo) -> Json:
        """One live trigger. Raises NotFound."""
        trigger = self.kernel.triggers.get(asked.id)
        if trigger is None or trigger.bound is None:
            raise NotFound(f"Registered trigger '{asked.id}' was not found.")
        function = target_of(self.kernel, trigger)
        return {
            "id": trigger.id,
            "trigger_type": trigger.trigger_type,
            "function_id": trigger.function_id,
            "worker_name": target_name(trigger, function),
            "config": trigger.config.raw,
            **present(metadata=trigger.metadata.raw if trigger.metadata else None),
            "trigger": self._type_info(trigger.bound),
            "function": describe(function, triggers_by_target(self.kernel)) if function else None,
        }

    def _old_triggers(self, *, include_internal: bool) -> list[Row]:
        return [
            old_trigger_row(trigger)
            for trigger in live_triggers(self.kernel)
            if include_internal or not trigger.function_id.startswith(_INTERNAL)
        ]

    def _chosen_types(self, asked: ListTriggerTypes) -> list[TriggerType]:
        text = (asked.search or "").lower()
        return [
            kind
            for kind in trigger_types(self.kernel)
            if (asked.include_internal or not kind.id.startswith(_INTERNAL))
            and kind.id.startswith(asked.prefix or "")
            and (text in kind.id.lower() or text in kind.description.lower())
            and asked.worker in {None, provider_name(kind)}
        ]

    def _type_info(self, kind: TriggerType) -> Row:
        return trigger_type_info(kind, len(kind.triggers))


def _is_asked(trigger: Trigger, function: Function | None, asked: ListTriggers) -> bool:
    text = (asked.search or "").lower()
    return (
        (bool(asked.include_internal) or not trigger.function_id.startswith(_INTERNAL))
        and any(text in part.lower() for part in (trigger.id, trigger.trigger_type, trigger.function_id))
        and asked.trigger_type in {None, trigger.trigger_type}
        and asked.function_id in {None, trigger.function_id}
        and asked.worker in {None, target_name(trigger, function)}
    )


def trigger_types(kernel: Kernel) -> list[TriggerType]:
    """Trigger types by id, then namespace."""
    return sorted(kernel.triggers.types, key=lambda kind: (kind.id, kind.namespace))


def live_triggers(kernel: Kernel) -> list[Trigger]:
    """Live triggers by id."""
    return sorted(kernel.triggers.live, key=lambda trigger: trigger.id)


def target_of(kernel: Kernel, trigger: Trigger) -> Function | None:
    """The function a trigger fires, if it is there."""
    return kernel.functions.find(trigger.namespace, trigger.function_id)
