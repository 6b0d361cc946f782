"""`engine::log::*` and `engine::baggage::*` over the wire (observability 4.1, 6.6), and peers' text in the engine's log."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from wire_client import LEGACY, MIB, MODERN, Client, Json, World, frame, of_others, open_world

from iii_trio.kernel.labels import LABEL_LIMIT
from iii_trio.sockets import OutboxLimits

LEVELS = {"trace": "DEBUG", "debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}
READERS = [LEGACY, MODERN, None]


class Kept(logging.Handler):
    """Keeps every record of the engine."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    """What the engine has logged so far."""
    logger, kept = logging.getLogger("iii_trio"), Kept()
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.DEBUG)
    yield kept.records
    logger.removeHandler(kept)
    logger.setLevel(level)


def _fields(record: logging.LogRecord) -> Json:
    return {
        name: vars(record)[name]
        for name in ("service", "data", "trace_id", "span_id", "worker")
        if name in vars(record)
    }


def _said(lines: list[logging.LogRecord]) -> list[logging.LogRecord]:
    return [record for record in lines if record.name == "iii_trio.function"]


@pytest.mark.parametrize("reader", READERS)
async def test_functions_write_to_the_engines_log(
    world: World, lines: list[logging.LogRecord], reader: Json | None
) -> None:
    # obs 15
    caller = await world.connect(reader)
    entry = {"message": "m", "data": {"a": [1, "ä"]}, "service_name": "s", "trace_id": "t", "span_id": "x", "more": 1}
    for level in LEVELS:
        outcome = await caller.call(f"engine::log::{level}", entry)
        assert set(outcome) == {"type", "invocation_id", "function_id"}
    said = _said(lines)
    assert [record.levelname for record in said] == list(LEVELS.values())
    assert {record.getMessage() for record in said} == {"m"}
    told = {"service": "s", "data": '{"a": [1, "\\u00e4"]}', "trace_id": "t", "span_id": "x", "worker": caller.id}
    assert all(_fields(record) == told for record in said)


@pytest.mark.parametrize("data", ["text", None, 7, [1]])
async def test_data_of_any_kind_is_accepted(world: World, lines: list[logging.LogRecord], data: Any) -> None:
    # obs 17
    caller = await world.connect()
    assert await caller.value("engine::log::info", {"message": "m", "data": data}) is None
    (said,) = _said(lines)
    assert _fields(said)["service"] == "unknown"
    assert ("data" in _fields(said)) == (data is not None)


@pytest.mark.parametrize("wrong", [{}, {"message": 5}, {"message": None}, "m", None, {"message": "m", "span_id": 5}])
async def test_an_entry_that_does_not_fit_is_refused(world: World, wrong: Any) -> None:
    # obs 16, wire 41
    caller = await world.connect()
    error = (await caller.outcome(await caller.invoke("engine::log::info", wrong)))["error"]
    assert error["code"] == "deserialization_error"
    assert error["message"].startswith("Failed to deserialize input for engine::log::info: ")


async def test_a_line_of_a_function_is_one_line_of_bounded_size(world: World, lines: list[logging.LogRecord]) -> None:
    caller = await world.connect()
    forged = "a\n[03:06:40.250 PM] [ERROR] iii_trio.engine b\x1b[31m\u202e"
    await caller.value("engine::log::info", {"message": forged, "service_name": forged})
    await caller.value("engine::log::info", {"message": "x" * 2**20, "data": {"k": "é" * 2**20}})
    first, second = _said(lines)
    for text in (first.getMessage(), _fields(first)["service"]):
        assert text == "a\\n[03:06:40.250 PM] [ERROR] iii_trio.engine b\\x1b[31m\\u202e"
    assert len(second.getMessage()) < 9000
    assert len(_fields(second)["data"]) < 9000


@pytest.mark.parametrize(
    ("baggage", "entries"),
    [
        ("a=1, b = x%20y ;p=q,a=2", {"a": "2", "b": "x y"}),
        ("=1,x,,y=", {"y": ""}),
        ("", {}),
        (None, {}),
    ],
)
async def test_a_call_reads_its_own_baggage(world: World, baggage: str | None, entries: Json) -> None:
    # obs 75
    caller = await world.connect()
    assert await caller.value("engine::baggage::get_all", {}, baggage=baggage) == {"baggage": entries}
    for key in ("a", "b", "y", "no"):
        assert await caller.value("engine::baggage::get", {"key": key}, baggage=baggage) == {"value": entries.get(key)}


async def test_baggage_cannot_be_set_and_says_so(world: World) -> None:
    caller = await world.connect()
    answer = await caller.value("engine::baggage::set", {"key": "k", "value": "v"}, baggage="k=1")
    assert (answer["success"], set(answer)) == (True, {"success", "note"})
    assert await caller.value("engine::baggage::get_all", {}) == {"baggage": {}}
    for function_id, wrong in (("get", {}), ("set", {"key": "k"}), ("set", {"value": "v"}), ("get_all", None)):
        invocation_id = await caller.invoke(f"engine::baggage::{function_id}", wrong)
        assert (await caller.outcome(invocation_id))["error"]["code"] == "deserialization_error"


@pytest.mark.parametrize("reader", READERS)
async def test_they_are_listed_with_the_other_built_ins(world: World, reader: Json | None) -> None:
    # wire 93
    caller = await world.connect(reader)
    ids = {
        *(f"engine::log::{level}" for level in LEVELS),
        *(f"engine::baggage::{name}" for name in ("get", "set", "get_all")),
    }
    rows = (await caller.value("engine::functions::list", {"include_internal": True}))["functions"]
    assert ids < {row["function_id"] for row in rows}
    shown = of_others((await caller.value("engine::functions::list", {}))["functions"])
    assert shown == []
    info = await caller.value("engine::functions::info", {"function_id": "engine::log::info"})
    assert set(info["request_schema"]["properties"]) == {"message", "data", "trace_id", "span_id", "service_name"}
    assert info["request_schema"]["required"] == ["message"]


NASTY = "x\n[ERROR] forged \x1b[31m\u202e" + "y" * 100_000


async def _talk_nastily(world: World, worker: Client) -> None:
    """Make the engine log every kind of peer-chosen text that it logs."""
    owner = await world.connect(MODERN, name="owner")
    for client in (owner, worker):
        await client.register(NASTY)  # the second is refused
    legacy = await world.connect(LEGACY)
    await legacy.register(NASTY)  # takes it over
    await worker.say(type="invokefunction", function_id=NASTY + "?", data={})
    await worker.say(type="registertriggertype", id=NASTY, description="", namespace=" ")
    await worker.say_text('{"type":"' + "z" * 10_000 + '"}')
    await worker.announce(MODERN, namespace=NASTY)  # too late: it stays where it is
    await worker.trigger("t\n" + NASTY, "http", NASTY, config={"api_path": f"a/{'p' * 10_000}", "http_method": NASTY})
    await worker.trigger("u\n" + NASTY, "http", NASTY, config={"api_path": f"b/{'p' * 3_000}", "http_method": "GET"})
    for client in (owner, worker, legacy):
        await client.fence()
    rejected = await world.connect()
    await rejected.invoke("engine::workers::register", {**MODERN, "name": "owner"})
    await rejected.wait_closed()


async def test_peers_cannot_forge_or_flood_the_log(lines: list[logging.LogRecord]) -> None:
    http = {"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}
    async with open_world(http) as world:
        await _talk_nastily(world, await world.connect(MODERN, name="nasty"))
    about_peers = [record.getMessage() for record in lines if record.name.startswith("iii_trio.")]
    for sign in ("refused a registration", "moved from", "dropped call", "refused trigger type", "dropped a message",
                 "stays in namespace", "Unsupported HTTP method", "[REGISTERED] Endpoint"):  # fmt: skip
        assert any(sign in text for text in about_peers), (sign, about_peers)
    for text in about_peers:
        assert text.isprintable(), text
        assert len(text) < 4 * LABEL_LIMIT, text


async def test_what_may_wait_for_a_worker_is_a_parameter_of_the_engine() -> None:
    # 1.4: by default more than twice as much may wait
    limits = OutboxLimits(frames=2, size=2_000, waiting=4_000, patience=60.0)
    async with open_world(outbox=limits) as world:
        caller, stuck = await world.connect(), await world.raw()
        await stuck.upgrade()
        await stuck.stream.send_all(frame(b'{"type":"registerfunction","id":"stuck::one"}') + frame(b'{"type":"ping"}'))
        await stuck.read_until(b'"pong"}')
        for _ in range(120):
            await caller.invoke("stuck::one", "x" * MIB)
            if refused := await caller.fence():
                break
            assert world.engine.kernel.statistics().invocations.in_flight < 30
        assert [message["error"]["code"] for message in refused] == ["overloaded"]
