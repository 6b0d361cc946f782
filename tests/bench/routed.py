"""Routed calls and fairness: engine and floor by turns, a fresh process for every measurement."""

from collections.abc import Sequence
from typing import TypeVar

import attrs
import cattrs

from .processes import Contestant, Placement, Router, end, harvest, pinned, run_json, running, spawn
from .results import Fairness, Routed, Window

SIZES = (150, 16 * 1024, 64 * 1024, 1024 * 1024)
FLOOD_DEPTH = 1000
T = TypeVar("T")
_TIGHT = {150: 2.0, 64 * 1024: 1.5, 1024 * 1024: 1.5}
"""Sizes whose targets leave little room get so many times the rounds: the best of few is a matter of luck."""


@attrs.frozen
class Pace:
    """How long to look: alternations, and seconds before and in each window of measurement; and where things run.

    One call at a time is measured with router and driver on one core: its latency is then the sum of their work. On
    two cores it is mostly the time an idle core takes to wake up, and it is the scheduler that decides between the two,
    anew for every process. Under load each has a core of its own.
    """

    rounds: int
    warm_up: float
    seconds: float
    probe_seconds: float = 8.0
    probed: tuple[str, ...] = ("own", "flooded")
    placement: Placement = attrs.field(factory=pinned)


def turns(contestants: Sequence[T], round_: int) -> Sequence[T]:
    """Who runs when in a round: each comes first in every other one."""
    return contestants if round_ % 2 == 0 else contestants[::-1]


def measure_routed(contestants: Sequence[Contestant], pace: Pace) -> list[Routed]:
    """Calls of every size through every contestant, round by round."""
    measured = []
    for round_ in range(int(pace.rounds * max(_TIGHT.values()))):
        for size in SIZES:
            if round_ >= pace.rounds * _TIGHT.get(size, 1):
                continue
            for contestant in turns(contestants, round_):
                measured.append(measure_calls(contestant, size, round_, pace))
    return measured


def measure_calls(contestant: Contestant, size: int, round_: int, pace: Pace) -> Routed:
    """Calls of one size through a fresh process: one at a time, then as many as it takes."""
    with running(contestant, pace.placement.router) as router:
        options = ("--size", size, *_aim(router), *_times(pace.warm_up, pace.seconds))
        single = run_json("driver", "single", *options, cores=pace.placement.router)
        several = run_json("driver", "saturated", *options, cores=pace.placement.load)
    return Routed(contestant.name, size, round_, cattrs.structure(single, Window), cattrs.structure(several, Window))


def measure_fairness(contestants: Sequence[Contestant], pace: Pace) -> list[Fairness]:
    """Single calls of one process while another process floods, in every round."""
    return [
        _probe(contestant, round_, worker, pace)
        for round_ in range(pace.rounds)
        for worker in pace.probed
        for contestant in turns(contestants, round_)
    ]


def _probe(contestant: Contestant, round_: int, worker: str, pace: Pace) -> Fairness:
    place = pace.placement
    with running(contestant, place.router) as router:
        flood = spawn("driver", "flood", "--depth", FLOOD_DEPTH, *_aim(router), cores=place.load)
        try:
            times = _times(pace.warm_up, pace.probe_seconds)
            single = run_json("driver", "probe", "--worker", worker, *_aim(router), *times, cores=place.load)
            flood_per_s = harvest(flood)["per_s"]
        finally:
            end(flood)
    return Fairness(contestant.name, round_, worker, single["calls"], single["p50_us"], single["p99_us"], flood_per_s)


def _aim(router: Router) -> tuple[object, ...]:
    return "--port", router.port, "--pid", router.pid


def _times(warm_up: float, seconds: float) -> tuple[object, ...]:
    return "--warm-up", warm_up, "--seconds", seconds
