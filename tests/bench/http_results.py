"""What a run of `just bench http` measures, what its figures should be, and how they are shown."""

from collections.abc import Callable, Sequence
from operator import attrgetter

import attrs

from .report import cells, describe, render_targets, table
from .results import FLOOR, About, Window
from .targets import Compared, Target, compared

FUNCTION, WORKER = "fast, function", "fast, worker"
ROUTED, OWN_ROUTED = "routed call of the floor", "routed call of the engine"
"""Contestants beside FLOOR. The last two are no requests: a call over WebSockets through the other bench's floor, and through the engine."""


@attrs.frozen
class Load:
    """How many connections ask, and whether from the server's own core."""

    connections: int
    shares_core: bool = False

    def __str__(self) -> str:
        return f"{self.connections}{', same core' * self.shares_core}"


ALONE, TOGETHER, MANY = Load(1), Load(1, shares_core=True), Load(32)
LOADS = (ALONE, TOGETHER, MANY)
ROUTED_LOADS = {TOGETHER: "one at a time", MANY: "saturated"}
"""How routed calls are made, and what is compared with them."""

_TARGETS = (
    *((load, FUNCTION, 2.5, FLOOR, "times the floor") for load in (ALONE, MANY)),
    *((load, WORKER, 2.0, ROUTED, "times a routed call of the floor") for load in ROUTED_LOADS),
)
_SHOWN = ((TOGETHER, FUNCTION, FLOOR), *((load, WORKER, OWN_ROUTED) for load in ROUTED_LOADS))
"""What is compared without a target."""

COMPARED = (*((load, who, yardstick) for load, who, _, yardstick, _ in _TARGETS), *_SHOWN)
AIMED = frozenset(name for _, *both in COMPARED for name in both)
"""The contestants that are compared."""


@attrs.frozen
class Row:
    """One contestant under one load in one round."""

    contestant: str
    load: Load
    round: int
    window: Window


@attrs.frozen
class Results:
    """One run."""

    about: About
    load: str
    """What asked."""

    rows: Sequence[Row]


cpu = attrgetter("cpu_us")
rate = attrgetter("per_s")
p50 = attrgetter("p50_us")
p99 = attrgetter("p99_us")
"""Figures of a `Window`."""


def compare(
    results: Results,
    load: Load,
    who: str,
    yardstick: str,
    figure: Callable[[Window], float] = cpu,
    best: Callable[[Sequence[float]], float] = min,
) -> Compared:
    """A figure of one contestant beside that of another, under the same load."""
    rows = [row for row in results.rows if row.load == load]
    return compared([(row.contestant, row.round, figure(row.window)) for row in rows], best, who, yardstick)


def targets(results: Results) -> list[Target]:
    """Every target, with what this run measured."""
    return [
        Target(_what(who, load), limit, compare(results, load, who, yardstick).ratio, unit)
        for load, who, limit, yardstick, unit in _TARGETS
    ]


def _what(who: str, load: Load) -> str:
    return f"CPU per request, {who}, {load.connections} connection{'s' * (load.connections > 1)}{', same core' * load.shares_core}"


def render(results: Results) -> str:
    """The tables of a run."""
    rounds = 1 + max(row.round for row in results.rows)
    where = f"{describe(results.about, rounds)} Load: {results.load}."
    servers = "### Servers\n\n" + _servers(results)
    return "\n\n".join((where, render_targets(targets(results)), _ratios(results), servers))


def _ratios(results: Results) -> str:
    rows = [
        (_what(who, load), yardstick, *cells(compare(results, load, who, yardstick)))
        for load, who, yardstick in COMPARED
    ]
    return table(("figure, µs", "yardstick", "measured", "that of the yardstick", "ratio", "ratio of each round"), rows)


def _servers(results: Results) -> str:
    columns = ("server", "connections", "requests/s", "CPU per request, µs", "times the floor", "p50, µs", "p99, µs")
    measured = dict.fromkeys((row.load, row.contestant) for row in results.rows)
    lines = [_line(results, name, load) for load in LOADS for at, name in measured if at == load]
    return table(columns, lines)


def _line(results: Results, name: str, load: Load) -> tuple[str, ...]:
    costs = compare(results, load, name, FLOOR)
    speed, middle, slow = (
        compare(results, load, name, FLOOR, figure, best).measured
        for figure, best in ((rate, max), (p50, min), (p99, min))
    )
    at = ROUTED_LOADS[load] if name in {ROUTED, OWN_ROUTED} else str(load)
    latencies = (f"{value:,.0f}" if value else "" for value in (middle, slow))  # none is noted of saturated calls
    return name, at, f"{speed:,.0f}", f"{costs.measured:.1f}", f"{costs.ratio:.2f}", *latencies
