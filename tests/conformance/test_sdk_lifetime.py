"""Workers of every SDK outlive their engine, and the engine outlives them."""

import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from asking import expected
from processes import eventually, serving
from sdk_install import SDKS, Sdk
from sdk_world import World, open_served_world

NAMES = [sdk.name for sdk in SDKS]
NO_ROUTE = expected(404, {"error": {"code": "NOT_FOUND", "message": "Not Found"}})


@pytest.fixture
def own(installed: Mapping[Sdk, Path], tmp_path: Path) -> Iterator[World]:
    """A world for one test alone."""
    with open_served_world(tmp_path, installed) as world:
        yield world


def assert_everything_works(world: World, mark: str) -> None:
    """HTTP, calls across languages, and trigger types of workers."""
    for caller, callee in zip(NAMES, reversed(NAMES), strict=True):
        told = world.relay(caller, f"{callee}::add", json.dumps({"a": 1, "b": 2}))
        identity = told["worker_id"]
        assert told == {"result": {"sum": 3, "by": callee, "caller": identity}, "worker_id": identity}
    for name in NAMES:
        answer = world.ask("POST", f"/{name}/fire", json.dumps(mark))
        assert answer.body == {"fired": sorted(f"{other}::note" for other in NAMES)}
        assert sum(note.get("body") == mark for note in world.notes(name)) == NAMES.index(name) + 1


def wait_no_route(world: World, path: str) -> None:
    eventually(lambda: world.ask("GET", path) == NO_ROUTE or None, f"{path} is gone")


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["SIGTERM", "SIGINT", "SIGKILL"],
)
def test_workers_come_back_to_an_engine_that_was_restarted(
    own: World, number: signal.Signals, status: int
) -> None:  # wire 19, 114
    assert_everything_works(own, "before")
    first = own.engine
    assert first.spawned.stop(number) == status
    assert " [ERROR] " not in first.spawned.output()
    with serving(own.folder, workers_port=first.workers_port, http_port=first.http_port) as own.engine:
        for name in NAMES:
            own.wait_serving(name)
        assert_everything_works(own, "after")


def test_what_a_worker_registered_goes_with_it(own: World) -> None:  # wire 14, http 22
    for gone, left in (("python-old", "node-new"), ("node-old", "python-new")):
        assert own.workers[gone].finish() == 0
        wait_no_route(own, f"/{gone}/notes")
        assert own.relay(left, f"{gone}::add", '{"a": 1, "b": 2}')["code"] == "function_not_found"
        rows = own.relay(left, "engine::workers::list", "{}")["result"]["workers"]
        assert gone not in [row["name"] for row in rows]


def test_a_worker_that_is_killed_leaves_its_callers_an_answer(own: World) -> None:  # wire 14, 15
    own.workers["node-old"].process.kill()
    told = eventually(
        lambda: (told := own.relay("python-new", "node-old::add", '{"a": 1, "b": 2}')).get("code") and told,
        "the function is gone",
    )
    assert told["code"] in {"function_not_found", "invocation_stopped"}
    assert own.relay("python-new", "node-new::add", '{"a": 1, "b": 2}')["result"]["sum"] == 3
