"""Where and how a run is made."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from .processes import ROOT, Placement
from .results import About


def about(placement: Placement, floor: str, packages: Sequence[str], *, quick: bool) -> About:
    """What a reader needs to judge the figures."""
    return About(
        when=datetime.now(UTC).strftime("%Y-%m-%d"),
        mode="quick" if quick else "full",
        commit=_commit(),
        python=platform.python_version(),
        packages={name: version(name) for name in packages},
        machine=_processor(),
        cores=os.cpu_count() or 1,
        placement="pinned" if placement.router else "left to the scheduler",
        floor=floor,
    )


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
