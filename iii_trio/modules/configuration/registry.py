"""The entries: registered, read, changed, and kept in step with their adapter (config-cli-modules 7)."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from iii_trio.kernel.labels import shown
from iii_trio.protocol import Json
from iii_trio.protocol.errors import AdapterDataError, AdapterError, Codes, InvocationError, NotFound

from ._events import Event, EventType
from .schema import Schema
from .store import ENTRY_ID, ConfigurationAdapter, Stored, canonical
from .values import Expanded, ExpandText, expand_value

_log = logging.getLogger("iii_trio.configuration")
MAX_ENTRIES: Final = 10_000


@attrs.define(eq=False)
class Registry:
    """Every entry of one engine. Changes come one at a time, each on disk before anybody is told of it.

    Args:
      adapter: where entries are kept.
      schemas: by entry; the caller keeps them when the module is restarted, since no adapter does.
      expand: puts variables into texts.
      publish: takes every event, at once and without waiting.
    """

    adapter: ConfigurationAdapter
    schemas: dict[str, Schema]
    expand: ExpandText
    publish: Callable[[Event], None]
    _entries: dict[str, Stored] = attrs.field(factory=dict, init=False)
    _changing: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def load(self) -> None:
        """Read everything there is. Raises AdapterError."""
        self._entries = dict(await self.adapter.load())

    # --- questions --------------------------------------------------------------------------------------------------

    def get(self, entry_id: str, *, raw: bool) -> Json:
        """The value, variables put in unless it is to be `raw`. Raises InvocationError `NOT_FOUND`, `EXPAND_FAILED`."""
        value = self._known(entry_id).value
        if raw:
            return value
        expanded = expand_value(value, self.expand)
        if expanded.unset:
            raise InvocationError(f"configuration '{entry_id}': {expanded.problem}", code=Codes.EXPAND_FAILED)
        return expanded.value

    def describe(self, entry_id: str) -> Json:
        """The entry without its value. Raises InvocationError `NOT_FOUND`."""
        return self._row(self._known(entry_id))

    def describe_all(self) -> list[Json]:
        """Every entry without its value, sorted by id."""
        return [self._row(self._entries[entry_id]) for entry_id in sorted(self._entries)]

    def _known(self, entry_id: str) -> Stored:
        entry = self._entries.get(entry_id)
        if entry is None:
            raise NotFound(f"configuration '{entry_id}' not found")
        return entry

    def _row(self, entry: Stored) -> dict[str, Json]:
        row = {
            "id": entry.id,
            "name": entry.name,
            "description": entry.description,
            "schema": self._schema_of(entry.id),
        }
        return row if entry.metadata is None else {**row, "metadata": entry.metadata}

    def _schema_of(self, entry_id: str) -> Json:
        schema = self.schemas.get(entry_id)
        return schema.document if schema else None

    # --- changes ----------------------------------------------------------------------------------------------------

    async def register(self, wanted: Stored, schema: Json) -> Json:
        """Enter or describe anew; `wanted.value` None leaves the stored value, or takes that of a changed `seed` (4.4).

        Raises InvocationError `INVALID_ID`, `SCHEMA_INVALID`, `ADAPTER_ERROR`. Cancelled, it has either happened or not.
        """
        if not ENTRY_ID.fullmatch(wanted.id):
            raise InvocationError(
                f"invalid configuration id '{wanted.id[:100]}': must match [a-z0-9_-]{{1,64}}", code=Codes.INVALID_ID
            )
        async with self._changing:
            former = self._entries.get(wanted.id)
            entry = _merged(former, wanted)
            checked = Schema(schema)
            if entry.value is not None and (former is None or entry.value is not former.value):
                _check(checked, entry.value, self.expand)
            await self._save(former, entry)
            self.schemas[entry.id] = checked
            self._tell(EventType.REGISTERED, entry, None, entry.value)
            if wanted.value is None and former is not None and entry.value is not former.value:
                self._tell(EventType.UPDATED, entry, former.value, entry.value)
            return {**self._row(entry), "value": entry.value}

    async def set(self, entry_id: str, value: Json) -> Json:
        """Change a value; returns the former and the new one as they are stored.

        Raises InvocationError `NOT_REGISTERED`, `SCHEMA_UNAVAILABLE`, `SCHEMA_INVALID`, `ADAPTER_ERROR`. Cancelled, it
        has either happened or not.
        """
        async with self._changing:
            former = self._entries.get(entry_id)
            if former is None:
                raise InvocationError(
                    f"configuration '{entry_id}' is not registered; call configuration::register first",
                    code=Codes.NOT_REGISTERED,
                )
            schema = self.schemas.get(entry_id)
            if schema is None:
                raise InvocationError(
                    f"no schema of configuration '{entry_id}' is registered; call configuration::register first",
                    code=Codes.SCHEMA_UNAVAILABLE,
                )
            _check(schema, value, self.expand)
            await self._save(former, attrs.evolve(former, value=value))
            self._tell(EventType.UPDATED, self._entries[entry_id], former.value, value)
            return {"old_value": former.value, "new_value": value}

    async def delete(self, entry_id: str) -> None:
        """Forget an entry. Raises InvocationError `ADAPTER_ERROR`."""
        async with self._changing:
            async with _adapter_errors():
                await self.adapter.delete(entry_id)
            self._forget(entry_id)

    async def _save(self, former: Stored | None, entry: Stored) -> None:
        if former is None and len(self._entries) >= MAX_ENTRIES:
            raise InvocationError(f"there are {MAX_ENTRIES} configurations already", code=Codes.ADAPTER_ERROR)
        if entry != former:
            async with _adapter_errors():
                await self.adapter.save(entry)
        self._entries[entry.id] = entry

    def _forget(self, entry_id: str) -> None:
        entry = self._entries.pop(entry_id, None)
        if entry is not None:
            self._tell(EventType.DELETED, entry, entry.value, None)
            self.schemas.pop(entry_id, None)

    def _tell(self, kind: EventType, entry: Stored, old_value: Json, new_value: Json) -> None:
        old, new = expand_value(old_value, self.expand), expand_value(new_value, self.expand)
        if new.unset:
            _log.warning("configuration %s: %s; who follows it is told the placeholder", entry.id, shown(new.problem))
        self.publish(Event.of(kind, entry, self._schema_of(entry.id), old.value, new.value))

    # --- changes by others ------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Take over what others change in the adapter, until cancelled. Raises AdapterError."""
        while True:
            for entry_id in sorted(await self.adapter.wait_changes()):
                async with self._changing:
                    await self._take_over(entry_id)

    async def _take_over(self, entry_id: str) -> None:
        try:
            found = await self.adapter.read(entry_id)
        except AdapterDataError as error:
            if entry_id in self._entries:
                _log.warning("%s; the former value stays in force", error)
            else:
                _log.info("%s", error)
            return
        former = self._entries.get(entry_id)
        if found is None:
            self._forget(entry_id)
        elif former is None:
            self._entries[entry_id] = found
            self._tell(EventType.REGISTERED, found, None, found.value)
        elif canonical(found.value) == canonical(former.value):
            self._entries[entry_id] = found
        elif (problem := self._problem(found)) is not None:
            _log.warning(
                "configuration %s was changed by hand: %s; the former value stays in force", entry_id, shown(problem)
            )
        else:
            self._entries[entry_id] = found
            _log.info("configuration %s was changed by hand", entry_id)
            self._tell(EventType.UPDATED, found, former.value, found.value)

    def _problem(self, found: Stored) -> str | None:
        expanded = expand_value(found.value, self.expand)
        schema = self.schemas.get(found.id)
        return expanded.problem or (schema.problem(expanded.value) if schema else None)


def _check(schema: Schema, value: Json, expand: ExpandText) -> None:
    """Raise `SCHEMA_INVALID` unless the value fits with its variables put in. One that is not set yet may become anything."""
    expanded: Expanded = expand_value(value, expand)
    problem = schema.problem(expanded.value, {path for path, _ in expanded.unset})
    if problem is not None:
        raise InvocationError(f"schema validation failed: {problem}", code=Codes.SCHEMA_INVALID)


def _merged(former: Stored | None, wanted: Stored) -> Stored:
    """What a registration makes of an entry: the given value, else that of a changed seed, else the stored one."""
    if wanted.value is not None:
        return wanted
    if former is None or former.value is None:
        return attrs.evolve(wanted, value=wanted.seed)
    if wanted.seed is None:
        return attrs.evolve(wanted, value=former.value, seed=former.seed)
    if former.seed is not None and canonical(wanted.seed) != canonical(former.seed):
        _log.info("configuration %s: its block in the configuration file has changed and is in force now", wanted.id)
        return attrs.evolve(wanted, value=wanted.seed)
    if canonical(wanted.seed) != canonical(former.value):
        _log.warning(
            "configuration %s: the stored value is in force, not its block in the configuration file, which is older; "
            "change either to have it",
            wanted.id,
        )
    return attrs.evolve(wanted, value=former.value)


@asynccontextmanager
async def _adapter_errors() -> AsyncIterator[None]:
    try:
        yield
    except AdapterError as error:
        raise InvocationError(str(error), code=Codes.ADAPTER_ERROR) from error
