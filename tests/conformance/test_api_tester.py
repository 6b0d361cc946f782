"""Requests made up from the description of an application's routes: no 5xx, nothing that is not as described."""

import subprocess
from pathlib import Path

from api_tester import command, library


def test_every_answer_is_as_described(tmp_path: Path) -> None:
    with library() as (address, process):
        tried = command(address, 5, "--report", "json", "--report-dir", "reports")
        ran = subprocess.run(tried, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=240)
        assert process.poll() is None
    assert ran.returncode == 0, ran.stdout
    assert "15 selected / 15 total" in ran.stdout
    assert "No issues found" in ran.stdout
