"""The contract of adapters of the configuration module."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from iii_trio.modules.configuration import ConfigurationAdapter, Stored

VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    2**63,
    1.0,
    1e300,
    "",
    "yes",
    "null",
    "007",
    "1e3",
    "0x10",
    "~",
    "- a",
    "a: b",
    "# no comment",
    " two  spaces ",
    "line\nbreak\r\ttab",
    "\x00\x7f\x85\u2028\ufeff",
    "é \U0001f600",
    "${VAR:default}",
    [],
    {},
    [[], {}, [1, [2]]],
    {"": 1, "a b": {"c": [None, {"d": False}]}, "<<": "merge", "é": "*alias"},
)


class ConfigurationAdapterContract:
    """Every test gets a `place` (`tmp_path`) of its own. Real time: adapters may use threads."""

    keeps: bool = True
    """Whether what was saved is there when the adapter is opened again at the same place."""

    def open(self, place: Path) -> AbstractAsyncContextManager[ConfigurationAdapter]:
        """The adapter, with its data at `place`."""
        raise NotImplementedError

    async def test_what_is_saved_is_read(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as adapter:
            assert await adapter.load() == {}
            assert await adapter.read("a") is None
            entry = Stored("a", "A", "about a", {"n": 1}, {"m": [1]}, {"n": 0})
            await adapter.save(entry)
            assert await adapter.read("a") == entry
            assert await adapter.load() == {"a": entry}

    async def test_every_value_comes_back_as_it_was(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as adapter:
            entries = [Stored(f"v-{n}", str(value), "", value, {"m": value}) for n, value in enumerate(VALUES)]
            for entry in entries:
                await adapter.save(entry)
                found = await adapter.read(entry.id)
                assert found == entry, entry.value
            assert await adapter.load() == {entry.id: entry for entry in entries}

    async def test_a_later_one_replaces(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as adapter:
            await adapter.save(Stored("a", "A", "x", {"a": 1}, {"m": 1}, {"a": 0}))
            later = Stored("a", "B", "y", {"b": 2})
            await adapter.save(later)
            await adapter.save(Stored("b"))
            assert await adapter.load() == {"a": later, "b": Stored("b")}

    async def test_what_is_deleted_is_gone(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as adapter:
            await adapter.save(Stored("a", value=1))
            await adapter.save(Stored("b", value=2))
            await adapter.delete("a")
            await adapter.delete("a")
            await adapter.delete("never")
            assert await adapter.read("a") is None
            assert await adapter.load() == {"b": Stored("b", value=2)}

    async def test_it_is_still_there_when_opened_again(self, tmp_path: Path) -> None:
        entry = Stored("a", "A", "about", {"a": 1})
        async with self.open(tmp_path) as adapter:
            await adapter.save(entry)
        async with self.open(tmp_path) as again:
            assert await again.load() == ({"a": entry} if self.keeps else {})

    async def test_a_save_that_is_cancelled_has_happened_or_not(self, tmp_path: Path) -> None:
        former, later = Stored("a", value=1), Stored("a", value=2)
        async with self.open(tmp_path) as adapter:
            await adapter.save(former)
            for delay in (0.0, 0.0001, 0.001):
                with trio.move_on_after(delay):
                    await adapter.save(later)
                assert await adapter.read("a") in (former, later)

    async def test_waiting_for_changes_can_be_cancelled(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as adapter:
            await adapter.save(Stored("a", value=1))
            for _ in range(2):
                with trio.move_on_after(0.05) as patience:
                    while True:
                        await adapter.wait_changes()
                assert patience.cancelled_caught
            assert await adapter.read("a") == Stored("a", value=1)

    async def test_entries_are_values(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as adapter:
            entry = Stored("a", value={"n": 1})
            await adapter.save(entry)
            found = await adapter.read("a")
            assert found is not None
            assert found != attrs.evolve(entry, value={"n": True})  # in Python 1 == True
