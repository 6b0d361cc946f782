"""What registration hooks are asked, and what their answers make of a registration (wire-protocol 11.7)."""

from msgspec import Struct
from msgspec.structs import replace

from iii_trio.kernel import DEFAULT_NAMESPACE, Session, Worker
from iii_trio.protocol.access import (
    FunctionQuestion,
    HookResult,
    TriggerQuestion,
    TriggerTypeQuestion,
    json_or,
    json_or_null,
    text_or,
)
from iii_trio.protocol.messages import Message, RegisterFunction, RegisterTrigger, RegisterTriggerType

Registration = RegisterFunction | RegisterTriggerType | RegisterTrigger
"""What there are gates and hooks for; withdrawals have none."""


def hook_for(worker: Worker, session: Session, message: Registration) -> tuple[str | None, Struct]:
    """The function to ask about a registration, and what to ask it."""
    context = session.context
    match message:
        case RegisterFunction(id=name, description=description, metadata=metadata):
            home = worker.home
            return session.policy.on_function, FunctionQuestion(
                name, description, json_or_null(metadata), context, home
            )
        case RegisterTriggerType(id=name, description=description):
            return session.policy.on_trigger_type, TriggerTypeQuestion(name, description, context)
        case RegisterTrigger():
            return session.policy.on_trigger, TriggerQuestion(
                message.id,
                message.trigger_type,
                message.function_id,
                json_or_null(message.config),
                json_or_null(message.metadata),
                context,
                message.namespace or DEFAULT_NAMESPACE,
            )


def mapped(message: Message, result: HookResult) -> Message:
    """A registration with what its hook wants otherwise."""
    match message:
        case RegisterFunction():
            return replace(
                message,
                id=text_or(result.function_id, message.id),
                description=text_or(result.description, message.description),
                metadata=json_or(result.metadata, message.metadata),
            )
        case RegisterTriggerType():
            return replace(
                message,
                id=text_or(result.trigger_type_id, message.id),
                description=text_or(result.description, message.description),
            )
        case RegisterTrigger():
            return replace(
                message,
                id=text_or(result.trigger_id, message.id),
                trigger_type=text_or(result.trigger_type, message.trigger_type),
                function_id=text_or(result.function_id, message.function_id),
                config=json_or(result.config, message.config),
            )
    return message
