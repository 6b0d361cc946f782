"""Parts of the configuration module: the bounds of its queues, the patience with subscribers, values, schemas, files."""

import errno
import logging
import os
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from iii_trio.contracts.configuration import VALUES
from iii_trio.kernel import Call, Function, Kernel, ModuleOwner, Trigger, TrioClock
from iii_trio.modules.configuration import ConfigurationConfig, ConfigurationModule, FsConfig, Stored
from iii_trio.modules.configuration._events import Event, EventType
from iii_trio.modules.configuration.adapters import watch
from iii_trio.modules.configuration.adapters.fs import open_fs
from iii_trio.modules.configuration.adapters.memory import MemoryConfiguration
from iii_trio.modules.configuration.adapters.yaml_text import dump_yaml
from iii_trio.modules.configuration.registry import MAX_ENTRIES, Registry
from iii_trio.modules.configuration.schema import Schema
from iii_trio.modules.configuration.store import canonical
from iii_trio.modules.configuration.subscribers import PATIENCE, QUEUE_LIMIT, Subscribers
from iii_trio.modules.configuration.values import expand_value
from iii_trio.protocol import Payload
from iii_trio.protocol.errors import AdapterUnavailable, InvocationError
from iii_trio.settings import json_schema
from iii_trio.settings.document import parse_document

DEADLINE = 30.0  # seconds: far more than it takes, on a machine that does other things besides


def parse(text: str) -> dict[str, Any]:
    return parse_document(text).values


def as_it_is(text: str) -> tuple[str, list[str]]:
    return text, []


# --- subscribers ------------------------------------------------------------------------------------------------------


@attrs.define
class Room:
    """Subscribers, and what the functions of the test are called with."""

    kernel: Kernel
    subscribers: Subscribers
    abandoned: list[str]
    owner: ModuleOwner = attrs.field(factory=lambda: ModuleOwner("t", "t"))

    def follow(self, trigger_id: str, handler: Any, **config: Any) -> Any:
        self.kernel.functions.add(Function(trigger_id, self.owner, handler=handler))
        return self.subscribers.bind(Trigger(trigger_id, "configuration", trigger_id, config=Payload.of(config)))

    def say(self, number: int, entry_id: str = "e") -> None:
        self.subscribers.publish(Event.of(EventType.UPDATED, Stored(entry_id), None, None, number))


@asynccontextmanager
async def open_room(ttl: float = 0) -> AsyncIterator[Room]:
    kernel, abandoned = Kernel(clock=TrioClock()), list[str]()

    async def abandon(entry_id: str) -> None:
        abandoned.append(entry_id)
        if entry_id == "stuck":
            raise InvocationError("the disk is full")

    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.invocations.run)
        yield Room(kernel, Subscribers(kernel, nursery, ttl, abandon), abandoned)
        nursery.cancel_scope.cancel()


async def test_who_does_not_answer_holds_the_others_up_for_a_while(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_room() as room:
        told: list[tuple[float, int]] = []

        async def silent(_: Call) -> None:
            await trio.sleep_forever()

        async def attentive(call: Call) -> None:
            told.append((trio.current_time(), call.payload.value["new_value"]))

        start = trio.current_time()
        room.follow("silent", silent)
        room.follow("attentive", attentive)
        room.say(1)
        room.say(2)
        room.follow("other", attentive, configuration_id="o")
        await trio.sleep(3 * PATIENCE)
        assert told == [(start + PATIENCE, 1), (start + 2 * PATIENCE, 2)]
        assert "others are told now" in caplog.text
        assert room.subscribers.statistics().waiting == 0


async def test_entries_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    async with open_room() as room:
        told = trio.Event()

        async def silent(_: Call) -> None:
            await trio.sleep_forever()

        async def other(_: Call) -> None:
            told.set()

        room.follow("silent", silent, configuration_id="e")
        room.follow("other", other, configuration_id="o")
        room.say(1, "e")
        room.say(1, "o")
        with trio.fail_after(1):
            await told.wait()


async def test_of_too_many_events_the_oldest_are_dropped_and_the_newest_is_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_room() as room:
        told: list[int] = []

        async def note(call: Call) -> None:
            told.append(call.payload.value["new_value"])

        room.follow("t", note)
        for number in range(QUEUE_LIMIT + 10):
            room.say(number)
        statistics = room.subscribers.statistics()
        assert (statistics.subscriptions, statistics.waiting, statistics.dropped) == (1, QUEUE_LIMIT, 10)
        await trio.testing.wait_all_tasks_blocked()
        assert told == list(range(10, QUEUE_LIMIT + 10))
        assert caplog.text.count("is behind") == 4  # at 1, 2, 4 and 8


async def test_a_trigger_that_went_is_not_told(autojump_clock: MockClock) -> None:
    async with open_room() as room:
        ends: list[Any] = []

        async def first(_: Call) -> None:
            ends.pop()()

        async def second(_: Call) -> None:
            raise AssertionError

        room.follow("first", first)
        ends.append(room.follow("second", second))
        room.say(1)
        await trio.testing.wait_all_tasks_blocked()
        assert room.kernel.statistics().invocations.failed == 0
        assert not ends


async def test_an_entry_lives_as_long_as_somebody_follows_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_room(ttl=60) as room:
        end_one = room.follow("one", None, configuration_id="e")
        end_two = room.follow("two", None, configuration_id="e")
        end_all = room.follow("all", None)
        end_one()
        await trio.sleep(100)
        end_two()
        await trio.sleep(59)
        end_two = room.follow("two", None, configuration_id="e")
        await trio.sleep(100)
        assert room.abandoned == []
        end_two()
        end_all()
        await trio.sleep(61)
        assert room.abandoned == ["e"]
        room.follow("three", None, configuration_id="stuck")()
        await trio.sleep(61)
        assert "configuration stuck could not be deleted: invocation_error: the disk is full" in caplog.text


# --- values -----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.text(string.printable),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(string.printable), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@example({"a": {"b": [[], {}, [{"c": []}]]}})
@example([[1, [2, {"a": [3]}]]])
def test_what_is_written_as_yaml_is_read_as_it_was(value: Any) -> None:
    text = dump_yaml({"id": "a", "value": value, "last": "end"})
    found = parse(text)
    assert canonical(found["value"]) == canonical(value)
    assert list(found) == ["id", "value", "last"]


def test_yaml_for_people() -> None:
    value = {"host": "127.0.0.1", "path": "/a b", "on": "no", "list": [1, {"a": None}], "var": "${X:5}", "none": {}}
    assert dump_yaml(value) == (
        'host: "127.0.0.1"\npath: /a b\n"on": "no"\nlist:\n  - 1\n  -\n    a: null\nvar: "${X:5}"\nnone: {}\n'
    )


def test_equal_is_what_json_calls_equal() -> None:
    entry = Stored("a", value={"x": 1, "y": 2})
    assert entry == Stored("a", value={"y": 2, "x": 1})
    for other in ({"x": True, "y": 2}, {"x": 1.0, "y": 2}, {"x": 1}):
        assert entry != Stored("a", value=other)
    assert len({canonical(value) for value in VALUES}) == len(VALUES)


def test_what_cannot_be_put_in_stands_as_it_was() -> None:
    def expand(text: str) -> tuple[str, list[str]]:
        return text.replace("${A}", "1"), ["B is missing"] if "${B}" in text else []

    done = expand_value({"x": ["${A}", "${A}${B}"], "y": "${A} "}, expand)
    assert done.value == {"x": [1, "${A}${B}"], "y": "1 "}
    assert done.unset == ((("x", 1), "B is missing"),)
    assert done.problem == "B is missing"
    assert expand_value(5, expand).problem == ""


def test_messages_about_values_are_short() -> None:
    problem = Schema({"type": "integer"}).problem("x" * 10_000)
    assert problem is not None
    assert len(problem) < 600


@attrs.frozen
class Inner:
    """Inside."""

    a: str = attrs.field(metadata={"doc": "A."})


@attrs.frozen
class Outer:
    """Outside."""

    level: Literal["x", "y"] | None = attrs.field(default=None, metadata={"doc": "L."})
    ratio: float = attrs.field(default=1.0, metadata={"doc": "R.", "minimum": 0})
    either: int | str | None = attrs.field(default=None, metadata={"doc": "E."})
    by_name: dict[str, Inner] = attrs.field(factory=dict, metadata={"doc": "B."})
    anything: Any = attrs.field(default=None, metadata={"doc": "Any.", "schema": {"title": "T"}})
    rows: tuple[Inner, ...] = attrs.field(default=(), metadata={"doc": "I."})
    flag: bool = attrs.field(default=False, metadata={"doc": "F."})
    hidden: int = attrs.field(default=0, init=False)


def test_a_class_becomes_a_schema() -> None:
    inner = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "A."}},
        "additionalProperties": False,
        "required": ["a"],
    }
    assert json_schema(Outer) == {
        "type": "object",
        "properties": {
            "level": {"type": ["string", "null"], "enum": ["x", "y", None], "description": "L."},
            "ratio": {"type": "number", "minimum": 0, "description": "R."},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}], "description": "E."},
            "by_name": {"type": "object", "additionalProperties": inner, "description": "B."},
            "anything": {"description": "Any.", "title": "T"},
            "rows": {"type": "array", "items": inner, "description": "I."},
            "flag": {"type": "boolean", "description": "F."},
        },
        "additionalProperties": False,
    }


# --- keeping ----------------------------------------------------------------------------------------------------------


async def test_there_is_a_limit_to_entries(autojump_clock: MockClock) -> None:
    entries = {f"e-{number}": Stored(f"e-{number}", value=1) for number in range(MAX_ENTRIES)}
    registry = Registry(MemoryConfiguration(entries), {}, as_it_is, lambda _: None)
    await registry.load()
    with pytest.raises(InvocationError, match="ADAPTER_ERROR: there are 10000 configurations already"):
        await registry.register(Stored("one-more"), {})
    assert (await registry.register(Stored("e-5"), {}))["value"] == 1


async def test_an_adapter_that_is_away_fails_the_call_and_not_the_module(autojump_clock: MockClock) -> None:
    class Away(MemoryConfiguration):
        async def save(self, entry: Stored) -> None:
            raise AdapterUnavailable("the disk has gone")

        delete = save  # type: ignore[assignment]

    registry = Registry(Away(), {}, as_it_is, lambda _: None)
    with pytest.raises(InvocationError, match="ADAPTER_ERROR: the disk has gone"):
        await registry.register(Stored("a", value=1), {})
    with pytest.raises(InvocationError, match="ADAPTER_ERROR: the disk has gone"):
        await registry.delete("a")
    assert registry.describe_all() == []


async def test_what_cannot_be_reached_at_the_start_ends_it() -> None:
    class Away(MemoryConfiguration):
        async def load(self) -> Any:
            raise AdapterUnavailable("the disk has gone")

    module = ConfigurationModule(ConfigurationConfig(), ModuleOwner("c", "c"), Away().open, as_it_is)
    with trio.fail_after(DEADLINE), pytest.RaisesGroup(pytest.RaisesExc(AdapterUnavailable, match="gone")):
        await module.run(Kernel(clock=TrioClock()))


async def test_files_of_others_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "database.yaml").write_text("url: sqlite\n")
    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        assert await adapter.load() == {}
        assert caplog.text == ""
        (tmp_path / "folder.yaml").mkdir()
        assert await adapter.load() == {}
        assert "folder.yaml cannot be read" in caplog.text
        await adapter.save(Stored("database", value=1))
        assert (tmp_path / "database.yaml.unreadable").read_text() == "url: sqlite\n"
        assert await adapter.read("database") == Stored("database", value=1)


async def test_two_engines_on_one_directory_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # config 12: "two engines on one directory with file stores"
    folder = tmp_path / "c"
    async with open_fs(FsConfig(str(folder)), parse) as first, open_fs(FsConfig(str(folder)), parse) as second:
        await first.load()
        await second.load()
        await first.save(Stored("a", value=1))  # makes the directory
        await first.save(Stored("b", value=1))
        assert caplog.text == ""
        await second.save(Stored("a", value=2))
        await second.load()
        assert caplog.text.count(f"{folder} belongs to another engine that runs") == 1
    caplog.clear()
    async with open_fs(FsConfig(str(folder)), parse) as third:
        assert set(await third.load()) == {"a", "b"}
    assert caplog.text == ""


async def test_a_system_that_cannot_tell_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr("socket.socket.bind", refuse)
    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        await adapter.save(Stored("a", value=1))
        assert set(await adapter.load()) == {"a"}
    assert caplog.text == ""


@pytest.mark.parametrize("failure", [OSError("OS file watch limit reached"), RuntimeError("Too many open files")])
async def test_a_directory_that_cannot_be_watched_is_looked_at(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # config 49
    def refuse(*_: Any) -> Any:
        raise failure

    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", refuse)
    monkeypatch.setattr(watch, "LOOK_PERIOD", 0.01)
    folder = tmp_path / "c"
    async with open_fs(FsConfig(str(folder)), parse) as adapter:
        await adapter.save(Stored("a", value=1))
        assert set(await adapter.wait_changes()) == {"a"}
        assert f"{failure}): it is looked at once a second" in caplog.text
        with trio.fail_after(DEADLINE):
            (folder / "b.yaml").write_text("value: 2")
            assert set(await adapter.wait_changes()) == {"b"}
            stat = (folder / "b.yaml").stat()
            os.utime(folder / "b.yaml", ns=(stat.st_atime_ns, stat.st_mtime_ns // 10**9 * 10**9 + 1))
            assert set(await adapter.wait_changes()) == {"b"}  # in the same second, and no longer than before
            (folder / "b.yaml").unlink()
            assert set(await adapter.wait_changes()) == {"b"}
            (folder / "a.yaml").unlink()
            folder.rmdir()
            assert set(await adapter.wait_changes()) == {"a"}
            folder.mkdir()
            (folder / "c.yaml").write_text("value: 3")
            assert set(await adapter.wait_changes()) == {"c"}
        with trio.move_on_after(0.1) as nothing:
            await adapter.wait_changes()
        assert nothing.cancelled_caught


async def test_a_directory_that_goes_while_a_watch_is_set_up_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise FileNotFoundError

    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        await adapter.save(Stored("a", value=1))
        with monkeypatch.context() as patch:
            patch.setattr("watchfiles._rust_notify.RustNotify", gone)
            assert set(await adapter.wait_changes()) == {"a"}
        await adapter.save(Stored("b", value=1))
        with trio.fail_after(DEADLINE):
            assert set(await adapter.wait_changes()) == {"a", "b"}


async def test_changes_are_gathered_for_half_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # config 49
    waits: list[tuple[int, int, int]] = []

    class Notify:
        def __init__(self, paths: list[str], *_: Any) -> None:
            assert paths == [str(tmp_path)]

        def watch(self, longest: int, quiet: int, timeout: int, _: Any) -> set[tuple[int, str]]:
            waits.append((longest, quiet, timeout))
            return {(1, str(tmp_path / "a.yaml")), (1, str(tmp_path / "A b.yaml")), (1, str(tmp_path / ".a.yaml.tmp"))}

        def close(self) -> None:
            waits.append((0, 0, 0))

    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", Notify)
    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        await adapter.save(Stored("b", value=1))
        assert set(await adapter.wait_changes()) == {"b"}
        assert set(await adapter.wait_changes()) == {"a"}
    assert waits == [(500, 100, 0), (0, 0, 0)]


async def test_what_the_system_cannot_tell_is_looked_for(tmp_path: Path) -> None:
    # config 49
    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        await adapter.save(Stored("a", value=1))
        await adapter.wait_changes()
        with trio.fail_after(DEADLINE):
            for number in range(2):
                (tmp_path / "b.yaml").write_text(f"value: {number}")
                (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("a name that is no text")
                while "b" not in await adapter.wait_changes():
                    pass


@pytest.mark.parametrize("waits", [False, True])
async def test_a_watch_ends_with_its_adapter(waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchfiles._rust_notify import RustNotify

    events: list[str] = []

    class Notify:
        def __init__(self, *arguments: Any) -> None:
            self.real = RustNotify(*arguments)
            events.append("opened")

        def watch(self, *arguments: Any) -> Any:
            return self.real.watch(*arguments)

        def close(self) -> None:
            self.real.close()
            events.append("closed")

    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", Notify)
    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        await adapter.save(Stored("a", value=1))
        await adapter.wait_changes()
        if waits:
            with trio.move_on_after(0.01):
                while True:
                    await adapter.wait_changes()
        assert events == ["opened"]
    assert events == ["opened", "closed"]  # and not when a collector comes by: the system has few to lend


async def test_a_directory_that_is_not_there_is_followed_once_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    async with open_fs(FsConfig(str(folder)), parse) as adapter:
        with trio.move_on_after(0.05) as nothing:
            await adapter.wait_changes()
        assert nothing.cancelled_caught
        await adapter.save(Stored("a", value=1))
        with trio.fail_after(DEADLINE):
            assert set(await adapter.wait_changes()) == {"a"}
        (folder / "a.yaml").unlink()
        folder.rmdir()
        with trio.fail_after(DEADLINE):
            assert "a" in await adapter.wait_changes()
        assert await adapter.read("a") is None


async def test_a_directory_that_goes_before_it_is_watched_is_missed_nothing_of(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    async with open_fs(FsConfig(str(folder)), parse) as adapter:
        await adapter.save(Stored("a", value=1))
        (folder / "a.yaml").unlink()
        folder.rmdir()
        with trio.fail_after(DEADLINE):
            assert set(await adapter.wait_changes()) == {"a"}
        with trio.move_on_after(0.05) as nothing:
            await adapter.wait_changes()
        assert nothing.cancelled_caught


async def test_files_are_private_until_somebody_says_otherwise(tmp_path: Path) -> None:
    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        await adapter.save(Stored("a", value="secret"))
        file = tmp_path / "a.yaml"
        assert file.stat().st_mode & 0o777 == 0o600
        file.chmod(0o640)
        await adapter.save(Stored("a", value="other"))
        assert file.stat().st_mode & 0o777 == 0o640


async def test_a_file_that_cannot_be_written_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        former = Stored("a", value=1)
        await adapter.save(former)
        (tmp_path / "a.yaml").chmod(0o666)

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(AdapterUnavailable, match="No space left"):
                await adapter.save(Stored("a", value=2))
        assert await adapter.load() == {"a": former}
        assert not (tmp_path / ".a.yaml.tmp").exists()
        await adapter.save(Stored("a", value=3))
        assert (tmp_path / "a.yaml").stat().st_mode & 0o777 == 0o666  # whatever the umask


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate((16 << 20) + 1)
    async with open_fs(FsConfig(str(tmp_path)), parse) as adapter:
        assert await adapter.load() == {}
    assert "more than 16777216 bytes" in caplog.text
