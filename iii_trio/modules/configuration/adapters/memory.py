"""Entries in memory: they end with the engine, and outlive a restart of the module."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from iii_trio.modules.configuration.store import ConfigurationAdapter, Stored


@attrs.frozen
class MemoryConfiguration:
    """The adapter `memory`: nobody else can change what it keeps."""

    _entries: dict[str, Stored] = attrs.field(factory=dict)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ConfigurationAdapter]:
        """Itself, for every incarnation of the module."""
        yield self

    async def load(self) -> Mapping[str, Stored]:
        await trio.lowlevel.checkpoint()
        return dict(self._entries)

    async def read(self, entry_id: str) -> Stored | None:
        await trio.lowlevel.checkpoint()
        return self._entries.get(entry_id)

    async def save(self, entry: Stored) -> None:
        self._entries[entry.id] = entry
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def delete(self, entry_id: str) -> None:
        self._entries.pop(entry_id, None)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_changes(self) -> Collection[str]:
        await trio.sleep_forever()
