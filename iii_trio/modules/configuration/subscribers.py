"""Triggers of type `configuration`: who follows which entry, and how they are told (config-cli-modules 7).

The events of one entry are told in their order, each to one trigger after the other; entries do not wait for each other.
"""

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import trio

from iii_trio.kernel import Kernel, Trigger
from iii_trio.kernel.labels import shown
from iii_trio.kernel.triggers import Unbind
from iii_trio.protocol import Json, Payload
from iii_trio.protocol.errors import InvocationError, TriggerRejected

from ._events import Event, EventType

_log = logging.getLogger("iii_trio.configuration")
TYPE: Final = "configuration"
DESCRIPTION: Final = "Triggered when a configuration value is registered, changed or deleted"
PATIENCE: Final = 30.0
"""Seconds for one trigger: its condition and its function. Then the next one is told; the function runs on."""

QUEUE_LIMIT: Final = 1_000
_FALSE: Final = b"false"

TRIGGER_FORMAT: Final = Payload.of(
    {
        "type": "object",
        "title": "ConfigurationTriggerConfig",
        "properties": {
            "configuration_id": {"type": ["string", "null"], "description": "The entry; left out: every entry."},
            "event_types": {
                "type": ["array", "null"],
                "items": {"type": "string", "enum": list(EventType)},
                "description": "What to be told of; left out: everything.",
            },
            "condition_function_id": {
                "type": ["string", "null"],
                "description": "Called with the event first; `false` skips the function.",
            },
        },
    }
)
CALL_FORMAT: Final = Payload.of(
    {
        "type": "object",
        "title": "ConfigurationEvent",
        "properties": {
            "type": {"const": "configuration"},
            "event_type": {"type": "string", "enum": list(EventType)},
            **{key: {"type": "string"} for key in ("id", "name", "description")},
            **{key: {} for key in ("schema", "old_value", "new_value", "metadata")},
        },
    }
)


@attrs.frozen
class Subscription:
    """What one trigger wants to be told."""

    trigger: Trigger
    entry_id: str | None
    event_types: frozenset[str] | None
    condition: str | None

    @classmethod
    def of(cls, trigger: Trigger) -> "Subscription":
        """Read a trigger's configuration. Raises TriggerRejected."""
        config = trigger.config.value or {}
        if not isinstance(config, dict):
            raise TriggerRejected("the config of a configuration trigger is an object")
        types = config.get("event_types")
        if types is not None and not (isinstance(types, list) and all(isinstance(one, str) for one in types)):
            raise TriggerRejected("event_types is a list of texts")
        for unknown in sorted(set(types or ()) - set(EventType)):
            _log.warning("trigger %s waits for %s, which never happens", shown(trigger.id), shown(unknown))
        entry_id, condition = (_text(config, key) for key in ("configuration_id", "condition_function_id"))
        return cls(trigger, entry_id, None if types is None else frozenset(types), condition)

    def wants(self, event: Event) -> bool:
        """Whether the event is one of those asked for."""
        return self.entry_id in {None, event.entry_id} and (self.event_types is None or event.type in self.event_types)


def _text(config: dict[str, Json], key: str) -> str | None:
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise TriggerRejected(f"{key} is a text")
    return value


_Waiting = deque[tuple[Event, tuple[Subscription, ...]]]
"""The events of an entry that are still to be told, each with those who followed it when it happened."""


@attrs.frozen
class Statistics:
    """Triggers bound, events that wait, and events dropped since the start because 1,000 of an entry waited."""

    subscriptions: int
    waiting: int
    dropped: int


@attrs.define(eq=False)
class Subscribers:
    """Tells triggers of events, in tasks of its nursery that live while there is something to tell.

    Args:
      kernel: calls the functions.
      nursery: the module's.
      ttl: seconds after which an entry is `abandoned` when the last trigger that named it has gone; 0 is never.
      abandoned: called with the id of such an entry.
    """

    kernel: Kernel
    nursery: trio.Nursery
    ttl: float
    abandoned: Callable[[str], Awaitable[None]]
    _subscriptions: dict[str, Subscription] = attrs.field(factory=dict, init=False)
    _followers: Counter[str] = attrs.field(factory=Counter, init=False)
    _waiting: dict[str, _Waiting] = attrs.field(factory=dict, init=False)
    _expiries: dict[str, trio.CancelScope] = attrs.field(factory=dict, init=False)
    _dropped: Counter[str] = attrs.field(factory=Counter, init=False)

    def bind(self, trigger: Trigger) -> Unbind:
        """Take a trigger up. Raises TriggerRejected."""
        subscription = Subscription.of(trigger)
        self._subscriptions[trigger.id] = subscription
        if subscription.entry_id is not None:
            self._followers[subscription.entry_id] += 1
            if (expiry := self._expiries.pop(subscription.entry_id, None)) is not None:
                expiry.cancel(reason="somebody follows the entry again")
        return partial(self._unbind, subscription)

    def _unbind(self, subscription: Subscription) -> None:
        del self._subscriptions[subscription.trigger.id]
        entry_id = subscription.entry_id
        if entry_id is None:
            return
        self._followers[entry_id] -= 1
        if not self._followers[entry_id]:
            del self._followers[entry_id]
            if self.ttl:
                self._expiries[entry_id] = trio.CancelScope()
                self.nursery.start_soon(self._expire, entry_id, self._expiries[entry_id], name=f"ttl/{entry_id}")

    async def _expire(self, entry_id: str, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(self.ttl)
            self._expiries.pop(entry_id, None)
            _log.info("configuration %s is deleted: nobody has followed it for %g s", entry_id, self.ttl)
            try:
                await self.abandoned(entry_id)
            except InvocationError as error:
                _log.error("configuration %s could not be deleted: %s", entry_id, error)

    def publish(self, event: Event) -> None:
        """Queue an event. Never waits: of an entry with 1,000 waiting events the oldest is dropped, and the log says so."""
        to_tell = tuple(each for each in self._subscriptions.values() if each.wants(event))
        if not to_tell:
            return
        waiting = self._waiting.get(event.entry_id)
        if waiting is None:
            waiting = self._waiting[event.entry_id] = deque()
            self.nursery.start_soon(self._tell_all, event.entry_id, waiting, name=f"configuration/{event.entry_id}")
        if len(waiting) >= QUEUE_LIMIT:
            waiting.popleft()
            self._note_drop(event.entry_id)
        waiting.append((event, to_tell))

    def _note_drop(self, entry_id: str) -> None:
        self._dropped[entry_id] += 1
        dropped = self._dropped[entry_id]
        if dropped & (dropped - 1) == 0:  # at 1, 2, 4, 8, ...: a stuck subscriber must not flood the log
            _log.warning("who follows configuration %s is behind: %d events dropped so far", entry_id, dropped)

    async def _tell_all(self, entry_id: str, waiting: _Waiting) -> None:
        while waiting:
            event, to_tell = waiting.popleft()
            for subscription in to_tell:
                await self._tell(subscription, event)
        del self._waiting[entry_id]

    async def _tell(self, subscription: Subscription, event: Event) -> None:
        trigger = subscription.trigger
        if self._subscriptions.get(trigger.id) is not subscription:
            return  # it went while those before it were told
        with trio.move_on_after(PATIENCE) as patience:
            try:
                if subscription.condition is not None and await self._is_false(subscription.condition, trigger, event):
                    return
                await self.kernel.bus.invoke(
                    trigger.function_id, event.payload, namespace=trigger.namespace, metadata=trigger.metadata
                )
            except InvocationError as error:
                _log.warning(
                    "trigger %s was not told of %s %s: %s", shown(trigger.id), event.type, event.entry_id, shown(error)
                )
        if patience.cancelled_caught:
            _log.warning("trigger %s has had %g s for %s; others are told now", shown(trigger.id), PATIENCE, event.type)

    async def _is_false(self, condition: str, trigger: Trigger, event: Event) -> bool:
        verdict = await self.kernel.bus.invoke(condition, event.payload, namespace=trigger.namespace)
        return bytes(memoryview(verdict.raw)) == _FALSE

    def statistics(self) -> Statistics:
        """Counts, for monitoring."""
        return Statistics(len(self._subscriptions), sum(map(len, self._waiting.values())), sum(self._dropped.values()))
