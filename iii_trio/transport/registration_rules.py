"""What a guarded connection may register, and under which ids (wire-protocol 2.10, 11.7, 11.8)."""

import logging
from collections.abc import Callable
from typing import Any, Final

import attrs
from msgspec.structs import replace

from iii_trio.kernel import DEFAULT_NAMESPACE, Kernel, Session, Worker
from iii_trio.kernel.labels import shown
from iii_trio.protocol import ErrorBody
from iii_trio.protocol.errors import Forbidden
from iii_trio.protocol.messages import (
    Message,
    RegisterFunction,
    RegisterTrigger,
    RegisterTriggerType,
    TriggerRegistrationResult,
    UnregisterFunction,
    UnregisterTrigger,
)

from .hooks import Registration

_log = logging.getLogger("iii_trio.access")


@attrs.frozen
class RegistrationRules:
    """Judges the registrations of one connection. What it denies nobody is told but the log, unless the protocol says so."""

    kernel: Kernel
    worker: Worker
    session: Session

    def is_allowed(self, message: Registration) -> bool:
        """Whether the session may register such a thing; if not, nobody is told but the log (11.7)."""
        match message:
            case RegisterFunction():
                allowed = self.session.may_register_functions
            case RegisterTriggerType():
                allowed = self.session.may_register_trigger_types
            case RegisterTrigger():
                allowed = self.session.may_use(message.trigger_type)
        if not allowed:
            self.log_denied(type(message).__name__, message.id, "not allowed for this session")
        return allowed

    def make(self, message: Message, said: Message) -> Message | None:
        """What an admitted registration comes to, as `said` by the worker and mapped by a hook; None if it is denied."""
        make = _MAKES.get(type(message))
        return message if make is None else make(self, message, said)

    def on_function(self, message: RegisterFunction, said: RegisterFunction) -> Message | None:
        stored = self.session.stored_id(message.id)
        if self._is_gatekeeper(stored):
            self.log_denied(
                "RegisterFunction", stored, "it guards a listener and is not for those it guards to replace"
            )
            return None
        if message.id != said.id:
            self.session.own_ids[stored] = said.id
        else:
            self.session.own_ids.pop(stored, None)
        return replace(message, id=stored)

    def _is_gatekeeper(self, stored_id: str) -> bool:
        """Whether somebody who is guarded would take the place of who guards, be it in an emergency of its worker."""
        if stored_id not in self.session.policy.gatekeepers or not self.session.policy.is_rbac:
            return False
        holder = self.kernel.functions.find(self.worker.home, stored_id)
        return self.session.policy.auth_function_id is not None or (
            holder is not None and holder.owner is not self.worker
        )

    def on_unregister_function(self, message: UnregisterFunction, _: Message) -> Message:
        stored = self.session.stored_id(message.id)
        if (self.worker.home, stored) not in self.worker.functions:
            renamed = (name for name, own in self.session.own_ids.items() if own == message.id)
            stored = next(renamed, stored)
        self.session.own_ids.pop(stored, None)
        return replace(message, id=stored)

    def on_trigger_type(self, message: RegisterTriggerType, _: Message) -> Message | None:
        namespace = message.namespace
        if namespace is not None and namespace.strip() and not self.session.may_live_in(namespace):
            self.log_denied("RegisterTriggerType", message.id, f"namespace {namespace} is not allowed")
            return None
        return message

    def on_trigger(self, message: RegisterTrigger, _: Message) -> Message | None:
        made = replace(message, function_id=self.session.stored_id(message.function_id))
        namespace = DEFAULT_NAMESPACE if made.namespace is None else made.namespace
        if not namespace.strip():
            return made  # refused by the kernel, with a reason of its own
        try:
            self.session.check_trigger(self.kernel.functions.find, namespace, made.function_id, made.config)
            self._check_trigger_id(made, namespace)
        except Forbidden as error:
            self.worker.tell(
                TriggerRegistrationResult(
                    made.id, made.trigger_type, made.function_id, ErrorBody(error.code, error.message)
                )
            )
            return None
        return made

    def _check_trigger_id(self, made: RegisterTrigger, namespace: str) -> None:
        """Raise Forbidden if another worker's trigger would be replaced by something else than itself.

        Itself it may be: a worker that connects anew registers its triggers again while its old connection lives.
        """
        former = self.kernel.triggers.get(made.id)
        if former is None or former.registrant is self.worker or not self.session.policy.is_rbac:
            return
        before = (former.trigger_type, former.function_id, former.namespace)
        if before != (made.trigger_type, made.function_id, namespace):
            raise Forbidden(f"trigger id '{made.id}' is held by another worker")

    def on_unregister_trigger(self, message: UnregisterTrigger, _: Message) -> Message | None:
        trigger = self.kernel.triggers.get(message.id)
        if self.session.policy.is_rbac and trigger is not None and trigger.registrant is not self.worker:
            self.log_denied("UnregisterTrigger", message.id, "it is another worker's")
            return None
        return message

    def log_denied(self, what: str, name: str, why: object) -> None:
        """Say in the log what was denied and why."""
        _log.warning("denied %s %s of worker %s: %s", what.lower(), shown(name), self.worker.id, shown(why))


_MAKES: Final[dict[type, Callable[[RegistrationRules, Any, Any], Message | None]]] = {
    RegisterFunction: RegistrationRules.on_function,
    UnregisterFunction: RegistrationRules.on_unregister_function,
    RegisterTriggerType: RegistrationRules.on_trigger_type,
    RegisterTrigger: RegistrationRules.on_trigger,
    UnregisterTrigger: RegistrationRules.on_unregister_trigger,
}
