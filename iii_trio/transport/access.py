"""The gate of one connection on a guarded listener: which of its messages pass, and as what (wire-protocol 11.5 - 11.8)."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import attrs
import trio
from msgspec import Struct

from iii_trio.kernel import DEFAULT_NAMESPACE, Function, Kernel, Policy, Session, Worker
from iii_trio.kernel.access import ASKS_SESSION
from iii_trio.kernel.http_functions import is_http_invoked
from iii_trio.kernel.workers import check_namespace
from iii_trio.protocol import BadAction
from iii_trio.protocol.access import HookResult, MiddlewareRequest, decode_answer, json_or_null, struct_payload
from iii_trio.protocol.errors import Forbidden, InvalidNamespace, InvocationError, RemoteProtocolError
from iii_trio.protocol.messages import (
    Announcement,
    Enqueue,
    InvocationResult,
    InvokeFunction,
    Message,
    Ping,
    Pong,
    Reattach,
    RegisterFunction,
    RegisterService,
    RegisterTrigger,
    RegisterTriggerType,
    RegisterWorker,
    RegistrationRejected,
    TriggerRegistrationResult,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
    WorkerRegistered,
)

from .hooks import hook_for, mapped
from .registration_rules import RegistrationRules

ANNOUNCE: Final = "engine::workers::register"
HOOK_DEADLINE: Final = 10.0
_HELD_LIMIT: Final = 50_000


@attrs.define(eq=False, repr=False)
class Gate:
    """Looks at every message of one connection before the kernel does. Nothing it does waits, but for `finish`."""

    kernel: Kernel
    worker: Worker
    session: Session
    rules: RegistrationRules = attrs.field(init=False)
    pending: Callable[[], Awaitable[None]] | None = None
    """What has to be waited for before the next message may be looked at (1.4)."""

    _early: list[Message] = attrs.field(factory=list)
    """Registrations, as they were said, that may have to be made (again) when the namespace is fixed."""

    def __attrs_post_init__(self) -> None:
        self.rules = RegistrationRules(self.kernel, self.worker, self.session)

    @property
    def policy(self) -> Policy:
        """What the listener's configuration says."""
        return self.session.policy

    def passes(self, message: Any) -> bool:
        """Whether a message goes on as it is. If not, it has been dealt with, or `finish` has to be awaited for it."""
        look = LOOKS.get(type(message))
        return type(message) in HARMLESS if look is None else look(self, message)

    async def finish(self) -> None:
        """Wait for what `passes` began. Cancelled: a registration that was not admitted yet is not made."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while (pending := self.pending) is not None:
            self.pending = None
            await pending()

    # --- calls ------------------------------------------------------------------------------------------------------

    def on_call(self, message: InvokeFunction) -> bool:
        try:
            namespace = check_namespace(message.namespace)
        except InvalidNamespace:
            return True  # the bus answers that
        function = self.kernel.functions.find(namespace, message.function_id)
        refusal = self._refusal(namespace, message, function)
        if refusal is not None:
            self.kernel.bus.refuse(self.worker, message, refusal)
            return False
        middleware = self.policy.middleware_function_id
        if middleware is None or _is_built_in(function):
            return True
        self.kernel.bus.invoke_through(
            self.worker, message, middleware, struct_payload(self._request(message, namespace))
        )
        return False

    def _refusal(self, namespace: str, message: InvokeFunction, function: Function | None) -> Forbidden | None:
        refusal = self.session.refusal(namespace, message.function_id, function)
        if refusal is not None or type(message.action) is not Enqueue or not self.policy.is_rbac:
            return refusal
        if message.function_id not in ASKS_SESSION:
            return None
        return Forbidden(f"function '{message.function_id}' not allowed through a queue")

    def _request(self, message: InvokeFunction, namespace: str) -> MiddlewareRequest:
        return MiddlewareRequest(
            message.function_id, json_or_null(message.data), message.action, self.session.context, namespace
        )

    # --- announcement and namespace ---------------------------------------------------------------------------------

    def on_register_worker(self, _: RegisterWorker) -> bool:
        refusal = self.session.refusal(DEFAULT_NAMESPACE, ANNOUNCE, None)
        if refusal is not None:
            self.rules.log_denied("announcement", "", refusal)
        return refusal is None

    def admit(self, said: Announcement) -> None:
        """Look at an announcement before the kernel takes it. Raises Forbidden, InvalidNamespace."""
        namespace = check_namespace(said.namespace)
        self.session.check_home(namespace)
        if self.worker.namespace is None and namespace != DEFAULT_NAMESPACE and self._early:
            # hooks are to be asked again, for that namespace
            self.kernel.registrations.withdraw_provisional(self.worker)

    def settle(self) -> None:
        """Go on from a fixed namespace: what was registered before is made in it, if it is another one than was assumed."""
        if self.worker.namespace is None:
            return
        early, self._early = self._early, []
        if early and self.worker.namespace != DEFAULT_NAMESPACE:
            self.pending = partial(self._replay, early)

    @property
    def may_settle(self) -> bool:
        """Whether a connection that never announces itself may become a member of `default`."""
        return self.session.may_live_in(DEFAULT_NAMESPACE)

    async def _replay(self, early: list[Message]) -> None:
        for message in early:
            await trio.lowlevel.checkpoint()
            if self.worker.closing:
                return
            self._put(message)
            if self.pending is not None:
                await self.finish()

    # --- registrations ----------------------------------------------------------------------------------------------

    def on_registration(self, message: Message) -> bool:
        if self.worker.namespace is None and not self.may_settle:
            self._keep(message)
        else:
            if self.worker.namespace is None and self.policy.has_hooks:
                self._keep(message)
            self._put(message)
        return False

    def _keep(self, message: Message) -> None:
        if len(self._early) < _HELD_LIMIT:
            self._early.append(message)
        else:
            self.rules.log_denied(type(message).__name__, "", f"{_HELD_LIMIT} registrations wait for the announcement")

    def _put(self, message: Message) -> None:
        """Make a registration, or have `finish` show it to its hook first."""
        if isinstance(message, RegisterFunction | RegisterTriggerType | RegisterTrigger):
            if not self.rules.is_allowed(message):
                return
            hook, question = hook_for(self.worker, self.session, message)
            if hook is not None:
                self.pending = partial(self._put_through, message, hook, question)
                return
        self._make(message, message)

    async def _put_through(self, message: Message, hook: str, question: Struct) -> None:
        """Make a registration as its hook wants it, or not at all; the worker is not told (11.7)."""
        try:
            with trio.fail_after(HOOK_DEADLINE):
                answer = await self.kernel.bus.invoke(hook, struct_payload(question))
            made = mapped(message, decode_answer(answer, HookResult))
        except (InvocationError, RemoteProtocolError, trio.TooSlowError) as error:
            why = str(error) or f"no answer within {HOOK_DEADLINE:.0f} s"
            self.rules.log_denied(type(message).__name__, getattr(message, "id", ""), f"{hook}: {why}")
            return
        if not self.worker.closing:
            self._make(made, message)

    def _make(self, message: Message, said: Message) -> None:
        made = self.rules.make(message, said)
        if isinstance(made, RegisterFunction) and is_http_invoked(made):
            self.pending = partial(self.kernel.registrations.take_http_function, self.worker, made)
        elif made is not None:
            self.kernel.registrations.take(self.worker, made)


def _is_built_in(function: Function | None) -> bool:
    """Whether it is one of the engine's own, which no middleware sees (11.6)."""
    return function is not None and function.id.startswith("engine::") and not isinstance(function.owner, Worker)


LOOKS: Final[dict[type, Callable[[Gate, Any], bool]]] = {
    InvokeFunction: Gate.on_call,
    RegisterWorker: Gate.on_register_worker,
    RegisterFunction: Gate.on_registration,
    UnregisterFunction: Gate.on_registration,
    RegisterTriggerType: Gate.on_registration,
    UnregisterTriggerType: Gate.on_registration,
    RegisterTrigger: Gate.on_registration,
    UnregisterTrigger: Gate.on_registration,
    RegisterService: Gate.on_registration,
}
"""What is looked at, by whom."""

HARMLESS: Final = frozenset(
    {
        BadAction,
        InvocationResult,
        Ping,
        Pong,
        Reattach,
        RegistrationRejected,
        TriggerRegistrationResult,
        WorkerRegistered,
    }
)
"""What passes: it asks for nothing, or proves by itself that it may. Anything else that may come to be does not."""
