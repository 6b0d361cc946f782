"""The load reaches what it measures: short runs against real processes."""

import os

import pytest

from .idle import connect_idle, measure_idle
from .processes import Contestant, ProcessFailed, engine, floor, free_port, pinned, run_json, running
from .routed import Pace, measure_fairness

CONTESTANTS = [pytest.param(engine(), id="engine"), pytest.param(floor(None), id="floor")]
BLINK = Pace(rounds=1, warm_up=0.05, seconds=0.2, probe_seconds=0.3)


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("size", [150, 1 << 20])
def test_calls_go_through_and_their_cost_is_seen(contestant: Contestant, size: int) -> None:
    with running(contestant) as router:
        aim = ("--port", router.port, "--pid", router.pid, "--size", size, "--warm-up", 0.05, "--seconds", 0.3)
        single, saturated = (run_json("driver", mode, *aim) for mode in ("single", "saturated"))
    for window in (single, saturated):
        assert window["calls"] > 0
        assert window["cpu_us"] > 0
    assert 0 < single["p50_us"] <= single["p99_us"]


def test_a_load_that_reaches_nobody_is_an_error() -> None:
    with pytest.raises(ProcessFailed, match="driver failed"):
        run_json("driver", "single", "--port", free_port(), "--pid", 1)


def test_a_router_that_does_not_start_is_an_error() -> None:
    broken = Contestant("broken", lambda _, folder: ["sh", "-c", f"echo no such thing; ls {folder}; exit 3"])
    with pytest.raises(ProcessFailed, match="no such thing"), running(broken):
        raise AssertionError("it is not running")


def test_single_calls_are_measured_beside_a_flood() -> None:
    measured = measure_fairness([engine(), floor(None)], BLINK)
    assert [(row.contestant, row.worker) for row in measured] == [
        ("engine", "own"),
        ("floor", "own"),
        ("engine", "flooded"),
        ("floor", "flooded"),
    ]
    assert all(row.calls > 0 and row.p99_us >= row.p50_us > 0 and row.flood_per_s > 0 for row in measured)


def test_idle_workers_are_connected_and_cost_memory() -> None:
    idle = measure_idle(50)
    assert idle.loaded_mib > idle.empty_mib > 10


def test_an_idle_worker_stays_connected() -> None:
    with running(engine()) as router, connect_idle(router) as peer:
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)


def test_router_and_load_are_kept_where_they_belong() -> None:
    place, before = pinned(), os.sched_getaffinity(0)
    with running(engine(), place.router) as router:
        assert os.sched_getaffinity(router.pid) == set(place.router or ())
    assert os.sched_getaffinity(0) == before
    assert place.load
    if len(before) > 1:
        assert place.load.isdisjoint(place.router or ())
