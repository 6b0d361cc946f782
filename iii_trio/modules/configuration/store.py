"""What is kept of an entry, and where: the contract of the adapters (config-cli-modules 7)."""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import attrs
import msgspec

from iii_trio.protocol import Json

ENTRY_ID: Final = re.compile(r"[a-z0-9_-]{1,64}")


def canonical(value: Json) -> bytes:
    """A text that is equal for equal values, whatever the order of their keys: `1` and `true` differ in it."""
    return msgspec.json.encode(value, order="sorted")


@attrs.frozen
class Stored:
    """What is kept of an entry. The schema is not: whoever owns the entry registers it with every start.

    `seed` is the block that the configuration file had when the value was stored first, or had last; empty if it had none,
    None if nobody knows: a block that differs from it is a newer wish (4.4).
    """

    id: str
    name: str = ""
    description: str = ""
    value: Json = attrs.field(default=None, eq=canonical)
    metadata: Json = attrs.field(default=None, eq=canonical)
    seed: Json = attrs.field(default=None, eq=canonical)


class ConfigurationAdapter(Protocol):
    """Where entries are kept. Contract: `iii_trio.contracts.ConfigurationAdapterContract`.

    `save` and `delete` are called one at a time. Every method may raise AdapterError, and none waits longer than its disk
    or its network does.
    """

    async def load(self) -> Mapping[str, Stored]:
        """Every entry that can be read, by id; what cannot is named in the log and left as it is."""
        ...

    async def read(self, entry_id: str) -> Stored | None:
        """One entry as it is now, None if there is none. Raises AdapterDataError if it cannot be read."""
        ...

    async def save(self, entry: Stored) -> None:
        """Keep an entry, in the place of the former one. When this returns it is durable; when it raises, the former is."""
        ...

    async def delete(self, entry_id: str) -> None:
        """Forget an entry; no effect if there is none."""
        ...

    async def wait_changes(self) -> Collection[str]:
        """Wait until somebody else may have changed entries; their ids, also of those that are gone.

        Called again and again by one task. What happens after `load` and between two calls is not missed; what has not
        changed, and own writes, may be told, too.
        """
        ...


OpenAdapter = Callable[[], AbstractAsyncContextManager[ConfigurationAdapter]]
"""Opens the adapter for one incarnation of the module; what it holds is released with the block."""
