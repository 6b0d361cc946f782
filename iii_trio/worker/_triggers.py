"""Triggers from both ends: the ones a worker registered, and the types it provides (wire-protocol 7)."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs

from iii_trio.kernel import DEFAULT_NAMESPACE
from iii_trio.kernel.labels import shown
from iii_trio.protocol import ErrorBody, Json, Payload
from iii_trio.protocol.errors import InvocationError, from_error_body, trigger_refusal
from iii_trio.protocol.messages import (
    ABSENT,
    AnyMessage,
    RegisterTrigger,
    TriggerRegistrationResult,
    UnregisterTrigger,
)

from ._trace import NO_TRACE, current_trace

_log = logging.getLogger("iii_trio.worker")
_ERRORS_KEPT = 100

Answer = Callable[[TriggerRegistrationResult], None]
Spawn = Callable[..., None]


@attrs.frozen(eq=False)
class TriggerConfig:
    """One trigger of a type that this worker provides.

    To fire it, call `function_id` with `namespace=` and `metadata=` as they are here (wire-protocol 7.8).
    """

    id: str
    trigger_type: str
    function_id: str
    config: Json
    metadata: Json
    namespace: str


class TriggerHandler(Protocol):
    """Serves the triggers of one type.

    For one trigger the two are called in turn, never at the same time: each `register_trigger` that returned is
    followed by one `unregister_trigger`, when the trigger is removed or replaced, the connection is lost (the engine
    offers its triggers again on the next one) or the type is withdrawn. At the end of the worker's block nothing is
    called.
    """

    async def register_trigger(self, trigger: TriggerConfig) -> None:
        """Begin to fire it. An exception refuses the trigger: its text goes to the registrant."""
        ...

    async def unregister_trigger(self, trigger: TriggerConfig) -> None:
        """Stop firing it. An exception is logged."""
        ...


@attrs.frozen
class TriggerError:
    """A trigger of this worker that its provider refused. It may be offered again, when the provider returns."""

    trigger_id: str
    trigger_type: str
    function_id: str
    error: InvocationError


@attrs.frozen(eq=False)
class _Offer:
    """One delivery of a trigger by the engine, to the handler that served its type then."""

    trigger: TriggerConfig
    handler: TriggerHandler
    answer: Answer


@attrs.define(eq=False)
class _Held:
    """A trigger this worker serves or is about to: `wanted` is where it shall get, `active` where it is."""

    wanted: _Offer | None = None
    active: _Offer | None = None
    busy: bool = False


@attrs.define(eq=False)
class Triggers:
    """Takes the engine's messages about triggers. Nothing here waits: each served trigger has a task while it changes.

    As many triggers are served as the engine has registered. The last hundred refusals are kept.
    """

    _spawn: Spawn
    errors: deque[TriggerError] = attrs.field(factory=lambda: deque(maxlen=_ERRORS_KEPT))
    _types: dict[str, TriggerHandler] = attrs.field(factory=dict)
    _held: dict[str, _Held] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self._held)

    def provide(self, type_id: str, handler: TriggerHandler) -> None:
        """Serve a type from now on, instead of an earlier handler of it."""
        self._types[type_id] = handler

    def withdraw(self, type_id: str) -> bool:
        """Stop serving a type and let its triggers go. False if it was not served."""
        if self._types.pop(type_id, None) is None:
            return False
        for trigger_id, held in tuple(self._held.items()):
            if held.wanted is not None and held.wanted.trigger.trigger_type == type_id:
                self._want(trigger_id, None)
        return True

    def drop_all(self) -> None:
        """Let every trigger go: the engine that wanted them is away."""
        for trigger_id in tuple(self._held):
            self._want(trigger_id, None)

    def take(self, message: AnyMessage, answer: Answer) -> None:
        """Take a message of the engine; `answer` carries a provider's answer back."""
        match message:
            case RegisterTrigger():
                self._offered(message, answer)
            case UnregisterTrigger():
                self._want(message.id, None)
            case TriggerRegistrationResult() if message.error is not None:
                error = from_error_body(message.error)
                _log.warning("trigger %s of type %s was refused: %s", message.id, message.trigger_type, shown(error))
                self.errors.append(TriggerError(message.id, message.trigger_type, message.function_id, error))

    def _offered(self, message: RegisterTrigger, answer: Answer) -> None:
        trigger = _config_of(message)
        handler = self._types.get(message.trigger_type)
        if handler is None:
            answer(_refusal(trigger, f"trigger type {message.trigger_type} is not provided here"))
        else:
            self._want(message.id, _Offer(trigger, handler, answer))

    def _want(self, trigger_id: str, offer: _Offer | None) -> None:
        held = self._held.get(trigger_id)
        if held is None:
            if offer is None:
                return
            held = self._held[trigger_id] = _Held()
        held.wanted = offer
        if not held.busy:
            held.busy = True
            self._spawn(self._settle, trigger_id, held, name=f"triggers/{trigger_id}")

    async def _settle(self, trigger_id: str, held: _Held) -> None:
        """Bring one trigger to where it shall be, however often that changes meanwhile."""
        current_trace.set(NO_TRACE)  # the task was spawned by whatever call changed the trigger
        while held.active is not held.wanted:
            if held.active is not None:
                gone, held.active = held.active, None
                await _let_go(gone)
            else:
                assert held.wanted is not None
                await self._begin(held, held.wanted)
        held.busy = False
        if held.active is None:
            del self._held[trigger_id]

    async def _begin(self, held: _Held, offer: _Offer) -> None:
        refusal = await _take_up(offer)
        if refusal is None:
            held.active = offer
        if held.wanted is offer:  # else the engine has thought again, and wants no answer
            if refusal is not None:
                held.wanted = None
            offer.answer(_result(offer.trigger, refusal))


async def _take_up(offer: _Offer) -> ErrorBody | None:
    try:
        await offer.handler.register_trigger(offer.trigger)
    except Exception as error:  # noqa: BLE001  # the invocation boundary: a provider's refusal is its answer
        text = error.message if isinstance(error, InvocationError) else str(error)
        return trigger_refusal(text or type(error).__name__)
    return None


async def _let_go(offer: _Offer) -> None:
    try:
        await offer.handler.unregister_trigger(offer.trigger)
    except Exception as error:  # noqa: BLE001  # the invocation boundary: there is nobody left to answer
        _log.error("trigger %s was not unregistered cleanly", shown(offer.trigger.id), exc_info=error)


def _config_of(message: RegisterTrigger) -> TriggerConfig:
    config, metadata = (None if raw is ABSENT else Payload(raw).value for raw in (message.config, message.metadata))
    namespace = message.namespace or DEFAULT_NAMESPACE
    return TriggerConfig(message.id, message.trigger_type, message.function_id, config, metadata, namespace)


def _result(trigger: TriggerConfig, error: ErrorBody | None) -> TriggerRegistrationResult:
    return TriggerRegistrationResult(trigger.id, trigger.trigger_type, trigger.function_id, error)


def _refusal(trigger: TriggerConfig, text: str) -> TriggerRegistrationResult:
    return _result(trigger, trigger_refusal(text))
