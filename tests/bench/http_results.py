"""What a run of `just bench http` measures, what its figures should be, and how they are shown."""

from collections.abc import Callable, Sequence

import attrs

from .report import cells, describe, render_targets, table
from .results import FLOOR, About, Window
from .targets import Compared, Target, compared

FUNCTION, WORKER, ROUTED = "fast, function", "fast, worker", "routed call"
"""Contestants beside FLOOR; ROUTED is no request: a call over WebSockets through the engine."""

CONNECTIONS = {1: "one at a time", 32: "saturated"}
"""How many connections ask, and how routed calls are made that are compared with them."""

_TARGETS = ((FUNCTION, 2.5, FLOOR, "times the floor"), (WORKER, 2.0, ROUTED, "times a routed call"))
AIMED = frozenset(name for who, _, yardstick, _ in _TARGETS for name in (who, yardstick))
"""The contestants that targets are about."""


@attrs.frozen
class Row:
    """One contestant with one number of connections in one round."""

    contestant: str
    connections: int
    round: int
    window: Window


@attrs.frozen
class Results:
    """One run."""

    about: About
    load: str
    """What asked."""

    rows: Sequence[Row]


def cpu(window: Window) -> float:
    return window.cpu_us


def rate(window: Window) -> float:
    return window.per_s


def p50(window: Window) -> float:
    return window.p50_us


def p99(window: Window) -> float:
    return window.p99_us


def compare(
    results: Results,
    connections: int,
    who: str,
    yardstick: str,
    figure: Callable[[Window], float] = cpu,
    best: Callable[[Sequence[float]], float] = min,
) -> Compared:
    """A figure of one contestant beside that of another, with the same number of connections."""
    rows = [row for row in results.rows if row.connections == connections]
    return compared([(row.contestant, row.round, figure(row.window)) for row in rows], best, who, yardstick)


def targets(results: Results) -> list[Target]:
    """Every target, with what this run measured."""
    return [
        Target(_what(who, connections), limit, compare(results, connections, who, yardstick).ratio, unit)
        for connections in CONNECTIONS
        for who, limit, yardstick, unit in _TARGETS
    ]


def _what(who: str, connections: int) -> str:
    return f"CPU per request, {who}, {connections} connection{'s' * (connections > 1)}"


def render(results: Results) -> str:
    """The tables of a run."""
    rounds = 1 + max(row.round for row in results.rows)
    where = f"{describe(results.about, rounds)} Load: {results.load}."
    servers = "### Servers\n\n" + _servers(results)
    return "\n\n".join((where, render_targets(targets(results)), _ratios(results), servers))


def _ratios(results: Results) -> str:
    rows = [
        (_what(who, connections), yardstick, *cells(compare(results, connections, who, yardstick)))
        for connections in CONNECTIONS
        for who, _, yardstick, _ in _TARGETS
    ]
    return table(("figure, µs", "yardstick", "measured", "that of the yardstick", "ratio", "ratio of each round"), rows)


def _servers(results: Results) -> str:
    columns = ("server", "connections", "requests/s", "CPU per request, µs", "times the floor", "p50, µs", "p99, µs")
    names = dict.fromkeys(row.contestant for row in results.rows)
    return table(columns, [_line(results, name, connections) for connections in CONNECTIONS for name in names])


def _line(results: Results, name: str, connections: int) -> tuple[str, ...]:
    costs = compare(results, connections, name, FLOOR)
    speed, middle, slow = (
        compare(results, connections, name, FLOOR, figure, best).measured
        for figure, best in ((rate, max), (p50, min), (p99, min))
    )
    at = CONNECTIONS[connections] if name == ROUTED else str(connections)
    latencies = (f"{value:,.0f}" if value else "" for value in (middle, slow))  # none is noted of saturated calls
    return name, at, f"{speed:,.0f}", f"{costs.measured:.1f}", f"{costs.ratio:.2f}", *latencies
