"""The example of an embedded engine runs as it stands, and ends by itself."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "embedded_engine.py"


def test_engine_worker_and_request_in_one_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE],
        check=False,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ['200 {"message":"Welcome, Ada!"}']


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 40
