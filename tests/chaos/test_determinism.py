"""Two runs with the same seeds are the same run, event by event (issue: determinism from the first day)."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

PROGRAM = Path(__file__).with_name("trace_program.py")
ROOT = Path(__file__).parents[2]
EVENTS = 500
Trace = list[tuple[float, str, str]]


def traces(chance: int, *orders: int, hash_seed: str = "0") -> list[Trace]:
    command = [sys.executable, str(PROGRAM), *map(str, (chance, *orders))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    return [list(map(tuple, json.loads(line))) for line in ended.stdout.splitlines()]


def test_equal_seeds_give_equal_traces_in_any_process() -> None:
    (first,) = traces(1, 7, hash_seed="1")
    (second,) = traces(1, 7, hash_seed="20077")
    assert len(first) >= EVENTS
    assert first == second


def test_the_trace_holds_concurrent_calls_over_virtual_time() -> None:
    (trace,) = traces(1, 7)
    kinds = Counter(kind for _, kind, _ in trace)
    assert {"worker_connected", "worker_metadata_updated", "function_registered", "worker_disconnected"} <= set(kinds)
    assert {"trigger_registered", "trigger_unregistered", "trigger_type_unregistered"} <= set(kinds)
    assert kinds["trigger_accepted"] == 8
    assert kinds["invoked"] == kinds["answered"] + kinds["failed"] + kinds["abandoned"]
    assert most_in_flight(trace) >= 5
    assert trace[-1][0] > trace[0][0]


def most_in_flight(trace: Trace) -> int:
    running = most = 0
    for _, kind, _ in trace:
        running += {"invoked": 1, "answered": -1, "failed": -1, "abandoned": -1}.get(kind, 0)
        most = max(most, running)
    return most


def test_the_order_of_tasks_alone_changes_the_trace() -> None:
    """Same ids, delays and choices; only the scheduler's dice differ: what the engine does depends on them."""
    different = {json.dumps(trace) for trace in traces(1, *range(10))}
    assert len(different) >= 2
