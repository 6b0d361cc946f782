"""The load reaches what it measures: short runs against real processes."""

import os
from pathlib import Path

import pytest

from iii_trio.composition import settings_catalogue
from iii_trio.settings import load_settings

from .idle import connect_idle, measure_idle
from .processes import ROOT, Contestant, ProcessFailed, engine, floor, free_port, guarded, pinned, run_json, running
from .routed import Pace, measure_fairness
from .scaling import cpu_seconds, measure_scaling

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


def test_every_registration_is_measured_at_every_level() -> None:
    measured = measure_scaling(1, present=(10,))
    assert len({row.what for row in measured}) == len(measured) == 10
    assert all(row.cpu_us > 0 for row in measured)
    assert not (ROOT / "config" / "iii-http.yaml").exists()  # the engine keeps what it is told in a folder of its own


def test_the_cpu_time_of_a_process_is_seen_to_the_microsecond() -> None:
    with running(engine()) as router, connect_idle(router):
        before = cpu_seconds(router.pid)
        assert cpu_seconds(router.pid) == before > 0.01  # it sleeps: nothing is added
        with connect_idle(router):
            pass
        assert 0 < cpu_seconds(router.pid) - before < 0.1


def test_a_guarded_listener_lets_the_load_pass_by_its_last_filter(tmp_path: Path) -> None:
    config = Path(guarded().command(49_000, tmp_path)[-1])
    (listener,) = load_settings(config, {}, settings_catalogue(), "0").listeners()
    assert listener.port == 49_000
    assert listener.rbac is not None
    assert len(listener.rbac.expose_functions) == 3
    assert "bench::*" in str(listener.rbac.expose_functions[-1])
