"""What the figures of a run should be, and what they are."""

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

import attrs

from .results import ENGINE, FLOOR, GUARDED, Fairness, Results, Routed
from .scaling import PRESENT
from .startup import DEFAULTS, ONE_LISTENER, TRIO

_OF_FLOOR = "times the floor"
_SATURATED = (1.3, 1.1, 1.1, 0.9)
NAMES = {150: "150 B", 16 * 1024: "16 KiB", 64 * 1024: "64 KiB", 1024 * 1024: "1 MiB"}


@attrs.frozen
class Target:
    """One figure that has to be at most `limit`."""

    what: str
    limit: float
    measured: float
    unit: str

    @property
    def is_met(self) -> bool:
        return self.measured <= self.limit


@attrs.frozen
class Compared:
    """The best of a figure over all rounds, that of its yardstick, and how far the rounds are apart."""

    measured: float
    yardstick: float
    per_round: Sequence[float]
    """The ratio of each round by itself."""

    @property
    def ratio(self) -> float:
        return self.measured / self.yardstick


single_cpu = attrgetter("one_at_a_time.cpu_us")
single_p50 = attrgetter("one_at_a_time.p50_us")
single_p99 = attrgetter("one_at_a_time.p99_us")
saturated_cpu = attrgetter("saturated.cpu_us")
saturated_rate = attrgetter("saturated.per_s")
"""Figures of a `Routed`."""

beside_p50 = attrgetter("p50_us")
beside_p99 = attrgetter("p99_us")
"""Figures of a `Fairness`."""


def compare(
    results: Results,
    size: int,
    figure: Callable[[Routed], float],
    best: Callable[[Sequence[float]], float] = min,
    who: str = ENGINE,
) -> Compared:
    """A figure of routed calls of one size, of the engine or of a variant of it."""
    rows = [row for row in results.routed if row.size == size]
    return compared([(row.contestant, row.round, figure(row)) for row in rows], best, who)


def compare_fairness(results: Results, worker: str, figure: Callable[[Fairness], float]) -> Compared:
    """A figure of single calls beside a flood, to the worker that `Fairness.worker` names."""
    rows = [row for row in results.fairness if row.worker == worker]
    return compared([(row.contestant, row.round, figure(row)) for row in rows])


def compared(
    figures: Sequence[tuple[str, int, float]],
    best: Callable[[Sequence[float]], float] = min,
    who: str = ENGINE,
    yardstick: str = FLOOR,
) -> Compared:
    """A figure of one contestant beside that of another, from (contestant, round, value)."""
    ours = {round_: value for contestant, round_, value in figures if contestant == who}
    theirs = {round_: value for contestant, round_, value in figures if contestant == yardstick}
    ratios = [ours[round_] / theirs[round_] for round_ in sorted(ours)]
    return Compared(best(list(ours.values())), best(list(theirs.values())), ratios)


def best_start(results: Results, what: str) -> float:
    """The fastest start of a kind, in seconds."""
    return min(start.seconds for start in results.starts if start.what == what)


def best_scaling(results: Results, what: str, present: int) -> float:
    """The least CPU time of an operation at a level, in microseconds."""
    return min(row.cpu_us for row in results.scaling if (row.what, row.present) == (what, present))


def growth(results: Results, what: str) -> float:
    """What an operation costs at the highest level, in times of what it costs at the lowest."""
    return best_scaling(results, what, PRESENT[-1]) / best_scaling(results, what, PRESENT[0])


def targets(results: Results) -> list[Target]:
    """Every target, with what this run measured."""
    return [*_routed(results), *_others(results), *scaling_targets(results)]


def _routed(results: Results) -> Iterator[Target]:
    for who, where in ((ENGINE, ""), (GUARDED, ", with access control")):
        if all(row.contestant != who for row in results.routed):
            continue
        for size, limit in zip(NAMES, _SATURATED, strict=True):
            cpu = compare(results, size, saturated_cpu, who=who).ratio
            yield Target(f"CPU per call, saturated, {NAMES[size]}{where}", limit, cpu, _OF_FLOOR)
    for name, figure in (("p50", single_p50), ("CPU per call", single_cpu)):
        yield Target(f"{name}, one at a time, 150 B", 0.9, compare(results, 150, figure).ratio, _OF_FLOOR)
    beside = compare_fairness(results, "own", beside_p99)
    yield Target("p99 beside a flood 1,000 deep", 0.5, beside.ratio, _OF_FLOOR)


def _others(results: Results) -> Iterator[Target]:
    inside, idle, trio = results.in_process, results.idle, best_start(results, TRIO)
    yield Target("in-process call", 5, inside.worker_call_us / inside.spawn_us, "times a task spawn")
    yield Target("1,000 idle workers", 25, idle.loaded_mib - idle.empty_mib, "MiB")
    for what in (ONE_LISTENER, DEFAULTS):
        yield Target(f"start to open ports, {what}", 4, best_start(results, what) / trio, "times `import trio`")


def scaling_targets(results: Results) -> Iterator[Target]:
    """What must not grow with what is registered."""
    for what in dict.fromkeys(row.what for row in results.scaling):
        unit = f"times that at {PRESENT[0]}"
        yield Target(f"{what}, {PRESENT[-1]:,} present", 1.3, growth(results, what), unit)
