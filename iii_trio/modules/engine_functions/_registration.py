"""`engine::register_trigger` and `engine::unregister_trigger`: triggers that outlive who made them (wire-protocol 7.7)."""

import attrs
import trio
from msgspec.structs import replace

from iii_trio.kernel import DEFAULT_NAMESPACE, Call, Kernel, Trigger, Worker
from iii_trio.kernel.registrations import optional
from iii_trio.kernel.triggers import WorkerProvider
from iii_trio.modules.built_in import BuiltIn, decode_input
from iii_trio.protocol import NULL, ErrorBody, Json
from iii_trio.protocol.errors import Codes, Forbidden, IIIError, InvocationError
from iii_trio.protocol.messages import Message, TriggerRegistrationResult

from . import _schemas as schemas
from ._inputs import NewTrigger, OldTrigger

_PATIENCE = 10.0


@attrs.define(eq=False)
class Applicant(Worker):
    """The registrant of a trigger until its provider has decided: no connection, it only hears the decision."""

    refusal: ErrorBody | None = None
    decided: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, message: Message) -> None:
        assert isinstance(message, TriggerRegistrationResult)  # all that registrants are told
        self.refusal = message.error
        self.decided.set()


@attrs.frozen
class TriggerRegistration:
    """Makes and removes triggers that belong to nobody: they live until they are removed by id."""

    kernel: Kernel

    def built_ins(self) -> tuple[BuiltIn, ...]:
        return (
            BuiltIn(
                "engine::register_trigger",
                "Registers a trigger that outlives its caller; waits up to 10 s for the provider to refuse it.",
                NewTrigger,
                schemas.CREATED,
                self.register,
            ),
            BuiltIn.of(
                "engine::unregister_trigger",
                "Removes a trigger by its id.",
                OldTrigger,
                schemas.REMOVED,
                self.unregister,
            ),
        )

    async def register(self, call: Call) -> Json:
        """Register, and wait at most 10 s for a worker that provides the type to answer; silence is consent.

        Raises InvocationError `trigger_registration_failed`, Forbidden. Cancelled while it waits, the trigger stays.
        """
        await trio.lowlevel.checkpoint()
        trigger, applicant = self._applied_for(self._admitted(call.caller, decode_input(call, NewTrigger)))
        try:
            self.kernel.triggers.add(trigger)
            refused_at_once = self.kernel.triggers.get(trigger.id) is not trigger
            if trigger.bound is not None and isinstance(trigger.bound.provider, WorkerProvider):
                with trio.move_on_after(_PATIENCE):
                    await applicant.decided.wait()
        finally:
            trigger.registrant = trigger.on_accepted = None
        if applicant.refusal is not None:
            raise self._refused(trigger, applicant.refusal, by_worker=not refused_at_once)
        return {"id": trigger.id}

    def unregister(self, call: Call, asked: OldTrigger) -> Json:
        """Remove a trigger, live or parked. Raises InvocationError `unregister_failed` if its provider cannot end it.

        Raises Forbidden where access control of the caller's listener does not leave it to the caller.
        """
        self._check_removal(call.caller, asked.id)
        try:
            return {"removed": self.kernel.triggers.remove(asked.id)}
        except IIIError as error:
            raise InvocationError(str(error), code=Codes.UNREGISTER_FAILED) from error

    def _admitted(self, caller: Worker | None, wanted: NewTrigger) -> NewTrigger:
        """The trigger as the caller's session lets it be: the same rules as for the message, without hooks (11.7)."""
        session = caller.session if caller is not None else None
        if session is None:
            return wanted
        if not session.may_use(wanted.trigger_type):
            raise Forbidden(f"trigger type '{wanted.trigger_type}' not allowed for this session")
        function_id = session.stored_id(wanted.function_id)
        session.check_trigger(self.kernel.functions.find, DEFAULT_NAMESPACE, function_id, wanted.config)
        return replace(wanted, function_id=function_id)

    def _check_removal(self, caller: Worker | None, trigger_id: str) -> None:
        """Raise Forbidden unless the caller may end the trigger: one of its own, or nobody's that it could make itself."""
        session = caller.session if caller is not None else None
        trigger = self.kernel.triggers.get(trigger_id)
        if session is None or trigger is None or trigger.registrant is caller or not session.policy.is_rbac:
            return
        if trigger.registrant is not None or not session.may_use(trigger.trigger_type):
            raise Forbidden(f"trigger '{trigger_id}' is not this worker's")
        target = self.kernel.functions.find(trigger.namespace, trigger.function_id)
        session.check_target(trigger.namespace, trigger.function_id, target)

    def _applied_for(self, wanted: NewTrigger) -> tuple[Trigger, Applicant]:
        trigger_id = self.kernel.ids.new()
        applicant = Applicant(trigger_id)
        trigger = Trigger(
            trigger_id,
            wanted.trigger_type,
            wanted.function_id,
            optional(wanted.config) or NULL,
            optional(wanted.metadata),
            trigger_namespace=wanted.trigger_namespace,
            registrant=applicant,
            on_accepted=applicant.decided.set,
        )
        return trigger, applicant

    def _refused(self, trigger: Trigger, refusal: ErrorBody, *, by_worker: bool) -> InvocationError:
        """Forget the trigger, whose id nobody learns; a worker's refusal is quoted with its own code."""
        self.kernel.triggers.remove(trigger.id)
        text = f"{refusal.code}: {refusal.message}" if by_worker else refusal.message
        return InvocationError(text, code=Codes.TRIGGER_REGISTRATION_FAILED)
