"""Rounds of every scenario by turns for some minutes, a look at the engine after each; exit code 1 if anything grows."""

import argparse
import sys
from collections.abc import Sequence
from random import Random

import trio

from .place import Place, open_place
from .scenarios import SCENARIOS
from .watch import ALLOWED, MIB, Sample, growth


class Grown(Exception):
    """Something is left of a round that should have left nothing, or memory has grown over many."""


async def soak(names: Sequence[str], seconds: float, seed: int, fewest: int = 5) -> list[Sample]:
    """Go on for `seconds`, `fewest` rounds at least; the samples after each round. Raises Grown, AssertionError."""
    ends = trio.current_time() + seconds
    samples: list[Sample] = []
    async with open_place() as place:
        baseline = await place.sample()
        while len(samples) < fewest or trio.current_time() < ends:
            name = names[len(samples) % len(names)]
            await SCENARIOS[name](place, Random(seed + len(samples)))  # to be repeated
            samples.append(await _rested(place, baseline, f"round {len(samples) + 1}, {name}"))
            judge(samples)
    return samples


async def _rested(place: Place, baseline: Sample, what: str) -> Sample:
    now, left = await place.rest(baseline)
    told = f"{what}: {now.memory / MIB:.1f} MiB, {now.descriptors} descriptors, {now.tasks} tasks, {now.calls} calls"
    print(told, flush=True)
    if left:
        raise Grown(f"{what} has left something behind: {'; '.join(left)}")
    return now


def judge(samples: Sequence[Sample]) -> None:
    """Raises Grown if memory has grown beyond what is allowed."""
    if (grown := growth(samples)) > ALLOWED:
        raise Grown(f"memory has grown by {grown / MIB:.1f} MiB in the last half of {len(samples)} rounds")


def main() -> int:
    """Exit code 0 if nothing grew."""
    options = parse()
    try:
        samples = trio.run(soak, options.scenario or list(SCENARIOS), options.minutes * 60, options.seed)
    except Grown as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(samples)} rounds; memory grew by {growth(samples) / MIB:.1f} MiB, nothing else")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just soak", description="use an engine for a long time and see what is left")
    parser.add_argument("minutes", nargs="?", type=float, default=10.0, help="default: 10")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="what the rounds draw their dice from; default: 1")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
