"""The examples that are programs run as they stand, end by themselves, and are short."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "embedded_engine.py": ['200 {"message":"Welcome, Ada!"}'],
    "supervised_actors.py": [
        "crashed: an order of -1",
        "shop/stock crashed",
        "('7 left', '8 left', 'closing')",
    ],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_runs_and_ends_by_itself(name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / name],
        check=False,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == PROGRAMS[name]


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_short(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()) < 40
