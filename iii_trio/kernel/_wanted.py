"""Which triggers look for which type: a type that comes or goes must cost nothing to the triggers of other types."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .triggers import Trigger

Key = tuple[str, str]
"""Namespace and id of a trigger type."""


@attrs.define(eq=False)
class Wanted:
    """Triggers by every key of a type that may serve them, each key's in the order in which they were entered.

    A trigger is found under the keys it was entered with, whatever becomes of it meanwhile.
    """

    _triggers: dict[Key, dict[str, "Trigger"]] = attrs.field(factory=dict)
    _keys: dict[str, tuple[Key, ...]] = attrs.field(factory=dict)

    def add(self, trigger: "Trigger", type_id: str) -> None:
        """Enter a trigger whose id is not entered, looking for a type by its own id (not an alias)."""
        keys = tuple((namespace, type_id) for namespace in trigger.candidates())
        self._keys[trigger.id] = keys
        for key in keys:
            self._triggers.setdefault(key, {})[trigger.id] = trigger

    def remove(self, trigger_id: str) -> None:
        """Take out the trigger entered under an id."""
        for key in self._keys.pop(trigger_id):
            wanting = self._triggers[key]
            del wanting[trigger_id]
            if not wanting:
                del self._triggers[key]

    def by(self, key: Key) -> Iterable["Trigger"]:
        """The triggers that a type with this key may serve, as they are now."""
        return tuple(self._triggers.get(key, {}).values())
