"""What an engine at rest holds, and whether that grows."""

from collections.abc import Sequence
from statistics import median

import attrs

MIB = 1024 * 1024
ALLOWED = 8 * MIB
"""Bytes by which the memory of the last quarter may exceed that of the second; the first quarter warms up."""

EXACT = (
    "descriptors",
    "tasks",
    "workers",
    "names",
    "functions",
    "triggers",
    "trigger_types",
    "in_flight",
    "crashed",
    "channels",
)
_FEWEST = 4


@attrs.frozen
class Sample:
    """An engine between two rounds. `calls` counts all it has ever taken."""

    memory: int
    descriptors: int
    tasks: int
    workers: int
    names: int
    functions: int
    triggers: int
    trigger_types: int
    in_flight: int
    calls: int
    crashed: int
    channels: int = 0


def residue(baseline: Sample, now: Sample) -> list[str]:
    """What is left of a round that should have left nothing; memory apart, which is judged over many rounds."""
    return [
        f"{name}: {getattr(now, name)} instead of {getattr(baseline, name)}"
        for name in EXACT
        if getattr(now, name) != getattr(baseline, name)
    ]


def growth(samples: Sequence[Sample]) -> float:
    """Bytes by which memory has grown between the second and the last quarter; 0 while there are too few samples."""
    quarter = len(samples) // _FEWEST
    if not quarter:
        return 0.0
    before, after = samples[quarter : 2 * quarter], samples[-quarter:]
    return median(one.memory for one in after) - median(one.memory for one in before)
