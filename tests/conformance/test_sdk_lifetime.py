"""Workers of every SDK outlive their engine, and the engine outlives them.

One world for all of these: each test leaves it whole.
"""

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from asking import expected
from processes import eventually, spawn
from sdk_install import SCRIPTS, SDKS, Sdk
from sdk_world import World, open_served_world, worker_environment

NAMES = [sdk.name for sdk in SDKS]
BY_NAME = {sdk.name: sdk for sdk in SDKS}
FORGETFUL = {"python-oldest", "python-old", "node-oldest", "node-old"}
"""SDKs before 0.19 do not act on `unregistertrigger`: their providers go on firing the triggers of the departed."""

NO_ROUTE = expected(404, {"error": {"code": "NOT_FOUND", "message": "Not Found"}})
SUM = json.dumps({"a": 1, "b": 2})


@pytest.fixture(scope="module")
def own(installed: Mapping[Sdk, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for these tests alone."""
    with open_served_world(tmp_path_factory.mktemp("lifetime"), installed) as world:
        yield world


def assert_everything_works(world: World, mark: str, *, all_forgot_nothing: bool = True) -> None:
    """HTTP, calls across languages, and trigger types of workers."""
    for caller, callee in zip(NAMES, reversed(NAMES), strict=True):
        told = world.relay(caller, f"{callee}::add", SUM)
        identity = told["worker_id"]
        assert told == {"result": {"sum": 3, "by": callee, "caller": identity}, "worker_id": identity}
    wanted = sorted(f"{other}::note" for other in NAMES)
    for name in NAMES:
        fired = world.ask("POST", f"/{name}/fire", json.dumps(f"{mark} {name}")).body["fired"]
        exact = all_forgot_nothing or name not in FORGETFUL
        assert (fired if exact else sorted(set(fired))) == wanted
        for other in NAMES:
            heard = sum(note.get("body") == f"{mark} {name}" for note in world.notes(other))
            assert heard == fired.count(f"{other}::note"), (name, other)


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
    first = own.engine
    assert first.spawned.stop(number) == status
    assert " [ERROR] " not in first.spawned.output()
    own.start_engine()
    for name in NAMES:
        own.wait_serving(name)
    assert_everything_works(own, number.name)


def test_a_call_in_flight_ends_with_the_worker_that_is_killed(own: World) -> None:  # wire 15
    told = {}
    for caller in ("python-new", "node-oldest"):
        victim = own.workers["node-old"].process
        told[caller] = own.relay(caller, "node-old::die", "{}")["code"]
        assert victim.wait(30) == -signal.SIGKILL
        own.start_worker(BY_NAME["node-old"])
        own.wait_serving("node-old")
    assert told == {"python-new": "invocation_stopped", "node-oldest": "invocation_stopped"}


def test_what_a_worker_registered_goes_with_it_and_comes_back_with_another(own: World) -> None:  # wire 14, 57, http 22
    for gone, left in zip(NAMES, [*NAMES[1:], NAMES[0]], strict=True):
        if gone in {"python-old", "node-new"}:
            assert own.workers[gone].finish() == 0
        else:
            assert own.workers[gone].stop(signal.SIGKILL) == -signal.SIGKILL
        wait_no_route(own, f"/{gone}/notes")
        assert own.relay(left, f"{gone}::add", SUM)["code"] == "function_not_found"
        assert gone not in _names_listed(own, left)
        own.start_worker(BY_NAME[gone])
        own.wait_serving(gone)
        assert gone in _names_listed(own, left)
    assert_everything_works(own, "after kills", all_forgot_nothing=False)


def _names_listed(world: World, reader: str) -> list[str]:
    rows = world.relay(reader, "engine::workers::list", "{}")["result"]["workers"]
    return [row["name"] for row in rows]


def test_two_old_clients_of_one_process_live_beside_a_new_one(own: World) -> None:  # wire 89
    with ExitStack() as stack:
        home = own.folder / "twins"
        home.mkdir()
        pids = {}
        for sdk, names in ((BY_NAME["python-old"], ("twin-a", "twin-b")), (BY_NAME["python-new"], ("single",))):
            command = [str(own.installed[sdk] / "bin" / "python"), str(SCRIPTS / "twins.py"), own.engine.url, *names]
            env = worker_environment(home, own.engine.url)
            pids[names] = stack.enter_context(spawn(command, home / f"{names[0]}.log", env)).process.pid
        for name in ("twin-a", "twin-b", "single"):
            told = eventually(
                lambda name=name: (told := own.relay("node-new", f"{name}::who", "{}")).get("result") and told,
                f"{name} serves",
            )
            assert told["result"] == {"name": name}
        names = _names_listed(own, "node-new")
        shared, alone = (f":{pid}" for pid in pids.values())
        assert [sum(name.endswith(end) for name in names) for end in (shared, alone)] == [2, 1]
