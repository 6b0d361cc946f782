"""The engine as one incarnation of a module sees it (config-cli-modules 9.1, object `Engine`)."""

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from actors import Crashed
from iii_trio.kernel import Function, Kernel, ModuleOwner, ServiceRegistry
from iii_trio.kernel import Trigger as KernelTrigger
from iii_trio.kernel import TriggerType as KernelTriggerType
from iii_trio.kernel.labels import shown
from iii_trio.protocol import Json
from iii_trio.protocol.errors import ConfigError, InvocationError, TriggerRejected

from .base import Module, Trigger, TriggerRegistrator, TriggerType
from .catalogue import ModuleCatalogue
from .results import FunctionHandler, RegisterFunctionRequest, ShortHandler, optional_payload, to_handler

_log = logging.getLogger("iii_trio.modules")
_WAITING_LIMIT = 10_000


@attrs.define(eq=False)
class RegistratorProvider:
    """Serves a trigger type through somebody's coroutines, one at a time and in order."""

    kernel: Kernel
    registrator: TriggerRegistrator
    _waiting: deque[tuple[bool, KernelTrigger]] = attrs.field(factory=deque)
    _wake: trio.Event = attrs.field(factory=trio.Event)

    def bind(self, trigger: KernelTrigger) -> None:
        if len(self._waiting) >= _WAITING_LIMIT:
            raise TriggerRejected(f"{_WAITING_LIMIT} triggers wait for {trigger.trigger_type}; try again later")
        self._queue(bind=True, trigger=trigger)

    def unbind(self, trigger: KernelTrigger) -> None:
        self._queue(bind=False, trigger=trigger)

    def _queue(self, *, bind: bool, trigger: KernelTrigger) -> None:
        self._waiting.append((bind, trigger))
        self._wake.set()

    async def run(self) -> None:
        """Pass registrations on until cancelled. A refusal ends that trigger only."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._waiting:
                await self._pass_on(*self._waiting.popleft())

    async def _pass_on(self, bind: bool, trigger: KernelTrigger) -> None:  # the queue's own pair
        call = self.registrator.register_trigger if bind else self.registrator.unregister_trigger
        child = self.kernel.invocations.start_soon(call, Trigger.of(trigger), name=f"trigger/{shown(trigger.id)}")
        exit_ = await child.wait_stopped()
        if not isinstance(exit_, Crashed):
            return
        if bind:
            self.kernel.triggers.reject(trigger, str(exit_.error) or type(exit_.error).__name__)
        else:
            _log.error("trigger %s could not be ended cleanly: %s", shown(trigger.id), shown(exit_.error))


@attrs.define(eq=False)
class ModuleEngine:
    """What a module does with the engine. Everything registered here belongs to the module and ends with it."""

    kernel: Kernel
    owner: ModuleOwner
    catalogue: ModuleCatalogue
    _nursery: trio.Nursery
    _types: list[str] = attrs.field(factory=list)

    @property
    def services(self) -> ServiceRegistry:
        """Objects that modules publish for each other: `register(name, obj)`, `get(name)`."""
        return self.kernel.services

    async def call(self, function_id: str, payload: Json = None, *, namespace: str | None = None) -> Json:
        """Call any function and return its value; raises InvocationError. The caller's cancel scope is the deadline."""
        return (await self.kernel.bus.invoke(function_id, payload, namespace=namespace)).value

    def register_function(self, request: RegisterFunctionRequest, handler: FunctionHandler | ShortHandler) -> None:
        """Offer a function in the namespace `default`; an id the engine has is replaced, with a warning."""
        function = Function(
            request.function_id,
            self.owner,
            handler=to_handler(handler),
            description=request.description,
            request_format=optional_payload(request.request_format),
            response_format=optional_payload(request.response_format),
            metadata=optional_payload(request.metadata),
        )
        replaced = self.kernel.functions.add(function)
        if replaced is not None:
            _log.warning(
                "function %s of %s replaces the one of %s", shown(function.id), self.owner.id, replaced.owner.id
            )

    register_function_handler = register_function

    def unregister_function(self, function_id: str) -> bool:
        """Withdraw a function of this module; False if it has none of that id."""
        return self.kernel.functions.remove(self.owner, "default", function_id)

    async def register_trigger_type(self, kind: TriggerType) -> None:
        """Provide a trigger type; triggers that wait for it are registered right away."""
        provider = RegistratorProvider(self.kernel, kind.registrator)
        self._nursery.start_soon(provider.run, name=f"modules/{self.owner.id}/{kind.id}")
        self._types.append(kind.id)
        self.kernel.triggers.add_type(
            KernelTriggerType(
                kind.id,
                self.owner,
                provider,
                description=kind.description,
                trigger_request_format=optional_payload(kind.trigger_request_format),
                call_request_format=optional_payload(kind.call_request_format),
            )
        )
        await trio.lowlevel.checkpoint()

    def unregister_trigger_type(self, type_id: str) -> bool:
        """Stop providing a type; its triggers are parked until somebody provides it again."""
        return self.kernel.triggers.remove_type(self.owner, "default", type_id)

    def resolve(self, invocation_id: str, value: Json = None, error: InvocationError | None = None) -> bool:
        """Bring the outcome of an invocation whose handler returned `Deferred()`; False if nobody waits for it."""
        return self.kernel.bus.resolve(invocation_id, value, error)

    async def create_adapter(self, cls: type[Module], name: str, config: Mapping[str, Any] | None) -> Any:
        """Make the adapter `name` of a module class, for the module itself or for an adapter that wraps another.

        Raises ConfigError naming the available adapters.
        """
        available = self.catalogue.adapters_of(cls)
        if name not in available:
            raise ConfigError(f"Adapter factory '{name}' not found. Available: {sorted(available)}")
        return await available[name](self, config)

    def close(self) -> None:
        """Give up every trigger type; the functions stay listed and answer `module_unavailable` until the restart."""
        for type_id in self._types:
            self.unregister_trigger_type(type_id)
