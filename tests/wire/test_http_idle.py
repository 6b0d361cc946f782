"""Thousands of clients that keep their connections and say nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("server", "count", "kib_each"), [("fast", 10_000, 12), ("hypercorn", 1_000, 40)])
def test_idle_connections_cost_little_and_stay_usable(server: str, count: int, kib_each: float) -> None:
    """All are answered before and after they were idle, none is lost, and each costs a bounded amount of memory."""
    command = [sys.executable, str(Path(__file__).with_name("http_idle.py")), server, str(count)]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120, check=True
    )
    found = json.loads(done.stdout)
    assert (found["answered"], found["lost"]) == (2 * count, 0)  # http 85
    assert found["kib_each"] < kib_each
