"""Triggers and trigger types (wire-protocol 7): who fires what for whom, and where a trigger waits for its type."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import attrs

from iii_trio.protocol import ErrorBody
from iii_trio.protocol.errors import TriggerRejected, trigger_refusal
from iii_trio.protocol.messages import ABSENT, RegisterTrigger, TriggerRegistrationResult, UnregisterTrigger
from iii_trio.protocol.payload import NULL, Payload

from ._wanted import Wanted
from .events import KernelEvents
from .labels import shown
from .workers import DEFAULT_NAMESPACE, Owner, Worker

_log = logging.getLogger("iii_trio.triggers")

Unbind = Callable[[], None]
Bind = Callable[["Trigger"], Unbind]
"""Activates one trigger inside the engine; returns what ends it. Raises TriggerRejected."""


class TriggerProvider(Protocol):
    """What serves the triggers of one type."""

    def bind(self, trigger: "Trigger") -> None:
        """Take a trigger up, also again under an id it has; raises TriggerRejected."""
        ...

    def unbind(self, trigger: "Trigger") -> None:
        """Let a trigger go."""
        ...


@attrs.define(eq=False)
class TriggerType:
    """A kind of trigger and who serves it."""

    id: str
    owner: Owner
    provider: TriggerProvider
    namespace: str = DEFAULT_NAMESPACE
    description: str = ""
    trigger_request_format: Payload | None = None
    call_request_format: Payload | None = None
    response_format: Payload | None = None
    triggers: dict[str, "Trigger"] = attrs.field(factory=dict, init=False, repr=False)
    """What it serves now, by id. Kept by the registry."""


@attrs.define(eq=False)
class Trigger:
    """One trigger. `bound` is the type that serves it; None means parked: it waits, unlisted, for its type."""

    id: str
    trigger_type: str
    function_id: str
    config: Payload = NULL
    metadata: Payload | None = None
    namespace: str = DEFAULT_NAMESPACE
    trigger_namespace: str | None = None
    registrant: Worker | None = None
    bound: TriggerType | None = None
    on_accepted: Callable[[], None] | None = attrs.field(default=None, repr=False)
    """Called when a worker that provides its type has agreed to it."""

    def candidates(self) -> tuple[str, ...]:
        """The namespaces its provider is looked for in, best first (7.3)."""
        if self.trigger_namespace is not None:
            return (self.trigger_namespace,)
        home = self.registrant.home if self.registrant else DEFAULT_NAMESPACE
        return (home,) if home == DEFAULT_NAMESPACE else (home, DEFAULT_NAMESPACE)


@attrs.frozen
class WorkerProvider:
    """Serves a type by telling the worker that registered it."""

    worker: Worker

    def bind(self, trigger: Trigger) -> None:
        served = trigger.bound.namespace if trigger.bound else DEFAULT_NAMESPACE
        self.worker.tell(
            RegisterTrigger(
                trigger.id,
                trigger.trigger_type,
                trigger.function_id,
                config=trigger.config.raw,
                metadata=trigger.metadata.raw if trigger.metadata else ABSENT,
                namespace=_unless_default(trigger.namespace),
                trigger_namespace=_unless_default(served),
            )
        )

    def unbind(self, trigger: Trigger) -> None:
        metadata = trigger.metadata.raw if trigger.metadata else ABSENT
        self.worker.tell(
            UnregisterTrigger(trigger.id, trigger.trigger_type, trigger.function_id, trigger.config.raw, metadata)
        )


@attrs.define(eq=False)
class LocalProvider:
    """Serves a type inside the engine through a `Bind`."""

    _bind: Bind
    _bound: dict[str, Unbind] = attrs.field(factory=dict)

    def bind(self, trigger: Trigger) -> None:
        self.unbind(trigger)
        self._bound[trigger.id] = self._bind(trigger)

    def unbind(self, trigger: Trigger) -> None:
        if (unbind := self._bound.pop(trigger.id, None)) is not None:
            unbind()


def _unless_default(namespace: str) -> str | None:
    return None if namespace == DEFAULT_NAMESPACE else namespace


@attrs.frozen
class TriggerStatistics:
    """Counts of the trigger registry."""

    types: int
    bound: int
    parked: int


@attrs.define(eq=False)
class TriggerRegistry:
    """Trigger types by `(namespace, id)` and triggers by id; a trigger without a provider is parked, never lost.

    No operation looks at triggers that it does not concern.
    """

    _events: KernelEvents
    _types: dict[tuple[str, str], TriggerType] = attrs.field(factory=dict)
    _triggers: dict[str, Trigger] = attrs.field(factory=dict)
    _wanted: Wanted = attrs.field(factory=Wanted)
    _aliases: dict[str, str] = attrs.field(factory=dict)
    """Other names that triggers may call a type by."""

    _covered: dict[tuple[str, str], TriggerType] = attrs.field(factory=dict)
    """Types of the engine whose place a worker has taken for as long as it is there."""
    _bound: int = 0

    @property
    def types(self) -> tuple[TriggerType, ...]:
        """Every trigger type that has a provider."""
        return tuple(self._types.values())

    @property
    def live(self) -> tuple[Trigger, ...]:
        """Every trigger that is bound."""
        return tuple(trigger for trigger in self._triggers.values() if trigger.bound is not None)

    def get(self, trigger_id: str) -> Trigger | None:
        """The trigger with that id, bound or parked."""
        return self._triggers.get(trigger_id)

    def get_type(self, namespace: str, type_id: str) -> TriggerType | None:
        """The type with that key, if it has a provider."""
        return self._types.get((namespace, type_id))

    def add_type(self, kind: TriggerType) -> None:
        """Install a type, in the place of an earlier provider, and hand it every trigger that is now its own (7.2, 7.5)."""
        key = (kind.namespace, kind.id)
        replaced = self._types.get(key)
        self._cover(key, replaced, kind)
        self._types[key] = kind
        if isinstance(kind.owner, Worker):
            kind.owner.trigger_types[key] = kind
        self._events.emit("trigger_type_registered", kind.id)
        takes_over = replaced is not None and isinstance(replaced.provider, WorkerProvider)
        for trigger in self._wanted.by(key):
            if self._resolve(trigger) is kind:
                self._move(trigger, kind, silent=takes_over and trigger.bound is replaced)

    def remove_type(self, owner: Owner, namespace: str, type_id: str) -> bool:
        """Take a type away from `owner`; its triggers find another provider or are parked. False if it is not the owner's.

        A type of the engine whose place it had taken is back.
        """
        key = (namespace, type_id)
        if isinstance(owner, Worker):
            owner.trigger_types.pop(key, None)
        kind = self._types.get(key)
        if kind is None or kind.owner is not owner:
            return self._uncover(key, owner)
        del self._types[key]
        self._events.emit("trigger_type_unregistered", type_id)
        for trigger in tuple(kind.triggers.values()):
            self._move(trigger, self._resolve(trigger), silent=True)
        if (covered := self._covered.pop(key, None)) is not None:
            self.add_type(covered)
        return True

    def _cover(self, key: tuple[str, str], replaced: TriggerType | None, newcomer: TriggerType) -> None:
        """Remember a type of the engine that a worker replaces; the engine's own takes its place back for good."""
        if not isinstance(newcomer.owner, Worker):
            self._covered.pop(key, None)
        elif replaced is not None and not isinstance(replaced.owner, Worker):
            self._covered[key] = replaced

    def _uncover(self, key: tuple[str, str], owner: Owner) -> bool:
        covered = self._covered.get(key)
        if covered is None or covered.owner is not owner:
            return False
        del self._covered[key]
        return True

    @contextmanager
    def serve(
        self,
        type_id: str,
        bind: Bind,
        *,
        owner: Owner,
        description: str = "",
        alias: str | None = None,
        trigger_request_format: Payload | None = None,
        call_request_format: Payload | None = None,
        response_format: Payload | None = None,
    ) -> Iterator[None]:
        """Provide a type inside the engine for the length of a block.

        Binds the triggers that wait for it, too. At the end every trigger is unbound and parked, so that a restarted
        module finds them again. `bind` raises TriggerRejected to refuse one; the registrant is told. Triggers may call
        the type by `alias`, too. The formats are JSON Schemas for listings.
        """
        if alias is not None:
            self._set_alias(alias, type_id)
        formats = (trigger_request_format, call_request_format, response_format)
        provider = LocalProvider(bind)
        kind = TriggerType(type_id, owner, provider, DEFAULT_NAMESPACE, description, *formats)
        self.add_type(kind)
        try:
            yield
        finally:
            for trigger in tuple(kind.triggers.values()):
                provider.unbind(trigger)
            self.remove_type(owner, DEFAULT_NAMESPACE, type_id)

    def add(self, trigger: Trigger) -> None:
        """Register a trigger; one with the same id is replaced (7.1). Parks it if its type has no provider."""
        former = self._triggers.get(trigger.id)
        kind = self._resolve(trigger)
        if former is not None:
            self._forget(
                former, silent=former.bound is kind and kind is not None and isinstance(kind.provider, WorkerProvider)
            )
        self._triggers[trigger.id] = trigger
        self._wanted.add(trigger, self._type_id(trigger))
        if trigger.registrant is not None:
            trigger.registrant.triggers[trigger.id] = trigger
        self._move(trigger, kind, silent=True)
        if kind is None:  # its type may come later, or be misspelt
            _log.info(
                "trigger %s of %s waits: no worker and no module provides the type %s",
                shown(trigger.id),
                shown(trigger.function_id),
                shown(trigger.trigger_type),
            )
        self._events.emit("trigger_registered", trigger.id)

    def remove(self, trigger_id: str) -> bool:
        """Remove a trigger, live or parked; its provider is told. False if there is none."""
        trigger = self._triggers.get(trigger_id)
        if trigger is None:
            return False
        self._forget(trigger, silent=False)
        self._events.emit("trigger_unregistered", trigger_id)
        return True

    def refused_by_provider(self, provider: Worker, trigger_id: str, error: ErrorBody) -> None:
        """A worker provider answered with an error: park the trigger and tell its registrant once (7.3)."""
        trigger = self._triggers.get(trigger_id)
        if trigger is None or trigger.bound is None or trigger.bound.owner is not provider:
            return
        self._set_bound(trigger, None)
        _tell_registrant(trigger, error)

    def accepted_by_provider(self, provider: Worker, trigger_id: str) -> None:
        """A worker provider answered without an error: nothing changes, whoever waits for its consent hears of it (7.7)."""
        trigger = self._triggers.get(trigger_id)
        if trigger is None or trigger.bound is None or trigger.bound.owner is not provider:
            return
        self._events.emit("trigger_accepted", trigger_id)
        if trigger.on_accepted is not None:
            trigger.on_accepted()

    def reject(self, trigger: Trigger, text: str) -> None:
        """A provider inside the engine refuses a trigger after the fact: it leaves no trace, its registrant is told."""
        self._forget(trigger, silent=True)
        _tell_registrant(trigger, trigger_refusal(text))

    def drop_worker(self, worker: Worker) -> None:
        """Disconnect cleanup (3.6): its triggers go, then its types."""
        for trigger in tuple(worker.triggers.values()):
            self._forget(trigger, silent=False)
        for namespace, type_id in tuple(worker.trigger_types):
            self.remove_type(worker, namespace, type_id)

    def _type_id(self, trigger: Trigger) -> str:
        return self._aliases.get(trigger.trigger_type, trigger.trigger_type)

    def _resolve(self, trigger: Trigger) -> TriggerType | None:
        for namespace in trigger.candidates():
            kind = self._types.get((namespace, self._type_id(trigger)))
            if kind is not None and not (isinstance(kind.owner, Worker) and kind.owner.closing):
                return kind
        return None

    def _move(self, trigger: Trigger, kind: TriggerType | None, *, silent: bool) -> None:
        """Bind to another type, or park. `silent`: the old provider is not told."""
        former = trigger.bound
        if former is not None and not silent:
            former.provider.unbind(trigger)
        self._set_bound(trigger, kind)
        if kind is None:
            return
        try:
            kind.provider.bind(trigger)
        except TriggerRejected as error:
            self.reject(trigger, str(error))

    def _forget(self, trigger: Trigger, *, silent: bool) -> None:
        if self._triggers.get(trigger.id) is trigger:
            del self._triggers[trigger.id]
            self._wanted.remove(trigger.id)
        if trigger.registrant is not None and trigger.registrant.triggers.get(trigger.id) is trigger:
            del trigger.registrant.triggers[trigger.id]
        former = trigger.bound
        self._set_bound(trigger, None)
        if former is not None and not silent:
            former.provider.unbind(trigger)

    def _set_bound(self, trigger: Trigger, kind: TriggerType | None) -> None:
        if trigger.bound is not None:
            del trigger.bound.triggers[trigger.id]
            self._bound -= 1
        trigger.bound = kind
        if kind is not None:
            kind.triggers[trigger.id] = trigger
            self._bound += 1

    def _set_alias(self, alias: str, type_id: str) -> None:
        """A name that is new may be what triggers already wait under: they are entered anew."""
        if self._aliases.get(alias) == type_id:
            return
        self._aliases[alias] = type_id
        self._wanted = Wanted()
        for trigger in self._triggers.values():
            self._wanted.add(trigger, self._type_id(trigger))

    def statistics(self) -> TriggerStatistics:
        """Counts, for monitoring and leak tests."""
        return TriggerStatistics(len(self._types), self._bound, len(self._triggers) - self._bound)


def _tell_registrant(trigger: Trigger, error: ErrorBody) -> None:
    if trigger.registrant is not None:
        trigger.registrant.tell(TriggerRegistrationResult(trigger.id, trigger.trigger_type, trigger.function_id, error))
