"""Routed calls and fairness: engine and floor by turns, a fresh process for every measurement."""

from collections.abc import Sequence

import attrs
import cattrs

from .processes import Contestant, Router, end, harvest, run_json, running, spawn
from .results import Fairness, Routed, Window

SIZES = (150, 16 * 1024, 64 * 1024, 1024 * 1024)
FLOOD_DEPTH = 1000


@attrs.frozen
class Pace:
    """How long to look: alternations, and seconds before and in each window of measurement."""

    rounds: int
    warm_up: float
    seconds: float
    probe_seconds: float


def turns(contestants: Sequence[Contestant], round_: int) -> Sequence[Contestant]:
    """Who runs when in a round: each comes first in every other one."""
    return contestants if round_ % 2 == 0 else contestants[::-1]


def measure_routed(contestants: Sequence[Contestant], pace: Pace) -> list[Routed]:
    """Calls of every size through every contestant in every round."""
    measured = []
    for round_ in range(pace.rounds):
        for size in SIZES:
            for contestant in turns(contestants, round_):
                with running(contestant) as router:
                    measured.append(_measure(contestant, router, size, round_, pace))
    return measured


def _measure(contestant: Contestant, router: Router, size: int, round_: int, pace: Pace) -> Routed:
    said = run_json("driver", "calls", "--size", size, *_aim(router), *_times(pace.warm_up, pace.seconds))
    windows = {name: cattrs.structure(figures, Window) for name, figures in said.items()}
    return Routed(contestant.name, size, round_, windows["one_at_a_time"], windows["saturated"])


def measure_fairness(contestants: Sequence[Contestant], pace: Pace) -> list[Fairness]:
    """Single calls of one process while another process floods, in every round."""
    return [
        _probe(contestant, round_, worker, pace)
        for round_ in range(pace.rounds)
        for worker in ("own", "flooded")
        for contestant in turns(contestants, round_)
    ]


def _probe(contestant: Contestant, round_: int, worker: str, pace: Pace) -> Fairness:
    with running(contestant) as router:
        flood = spawn("driver", "flood", "--depth", FLOOD_DEPTH, *_aim(router))
        try:
            times = _times(pace.warm_up, pace.probe_seconds)
            single = run_json("driver", "probe", "--worker", worker, *_aim(router), *times)
            flood_per_s = harvest(flood)["per_s"]
        finally:
            end(flood)
    return Fairness(contestant.name, round_, worker, single["calls"], single["p50_us"], single["p99_us"], flood_per_s)


def _aim(router: Router) -> tuple[object, ...]:
    return "--port", router.port, "--pid", router.pid


def _times(warm_up: float, seconds: float) -> tuple[object, ...]:
    return "--warm-up", warm_up, "--seconds", seconds
