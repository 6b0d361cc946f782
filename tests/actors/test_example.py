import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "supervised_actors.py"


def test_the_example_runs_and_ends_by_itself() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE],
        check=False,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "crashed: an order of -1",
        "shop/stock crashed",
        "('7 left', '8 left', 'closing')",
    ]
