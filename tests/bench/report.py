"""A run as Markdown, and its place in docs/performance.md."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from .results import ENGINE, GUARDED, About, Results, Routed
from .scaling import PRESENT
from .startup import TRIO
from .targets import (
    NAMES,
    Compared,
    Target,
    beside_p50,
    beside_p99,
    best_scaling,
    best_start,
    compare,
    compare_fairness,
    growth,
    saturated_cpu,
    saturated_rate,
    single_cpu,
    single_p50,
    single_p99,
    targets,
)

BEGIN, END = "<!-- measured: written by `just bench` -->", "<!-- end of measured -->"
_FIGURES = (
    ("CPU per call, saturated, µs", saturated_cpu, min),
    ("calls/s, saturated", saturated_rate, max),
    ("CPU per call, one at a time, µs", single_cpu, min),
    ("p50, one at a time, µs", single_p50, min),
    ("p99, one at a time, µs", single_p99, min),
)


def render(results: Results) -> str:
    """The tables of a run."""
    rounds = 1 + max(row.round for row in results.routed)
    parts = [
        describe(results.about, rounds),
        render_targets(targets(results)),
        "### Routed calls\n\n" + _routed(results, ENGINE),
    ]
    if any(row.contestant == GUARDED for row in results.routed):
        parts.append("### Routed calls, with access control\n\n" + _routed(results, GUARDED))
    parts += [_fairness(results), _rest(results)]
    if results.scaling:
        parts.append(render_scaling(results))
    return "\n\n".join(parts)


def render_targets(aimed: Sequence[Target]) -> str:
    """What was aimed at, and whether it was reached."""
    rows = [
        (
            target.what,
            f"≤ {target.limit:g} {target.unit}",
            f"{target.measured:.2f}",
            "yes" if target.is_met else "**no**",
        )
        for target in aimed
    ]
    return "### Targets\n\n" + table(("figure", "target", "measured", "met"), rows)


def describe(about: About, rounds: int) -> str:
    """Where and how a run was made."""
    packages = ", ".join(f"{name} {version}" for name, version in about.packages.items())
    return (
        f"{about.when}, commit {about.commit}, {about.mode} run with {rounds} alternations; Python {about.python}, "
        f"{packages}; {about.cores} cores of {about.machine}, placement {about.placement}; floor: `{about.floor}`."
    )


def _routed(results: Results, who: str) -> str:
    rows = [
        (NAMES[size], name, *cells(compare(results, size, figure, best, who)))
        for name, figure, best in _FIGURES
        for size in _sizes(results.routed)
    ]
    return table(("payload", "figure", who, "floor", "ratio", "ratio of each round"), rows)


def _fairness(results: Results) -> str:
    rows = []
    for worker in dict.fromkeys(row.worker for row in results.fairness):
        for name, figure in (("p50, µs", beside_p50), ("p99, µs", beside_p99)):
            rows.append((f"{worker} worker", name, *cells(compare_fairness(results, worker, figure))))
    columns = ("single calls to", "figure", "engine", "floor", "ratio", "ratio of each round")
    return "### Single calls beside a flood 1,000 calls deep\n\n" + table(columns, rows)


def _rest(results: Results) -> str:
    inside, idle = results.in_process, results.idle
    trio = best_start(results, TRIO)
    rows = [
        ("Trio task spawned and waited for", f"{inside.spawn_us:.1f} µs", "1"),
        ("`worker.trigger` to another in-process worker", *_times(inside.worker_call_us, inside.spawn_us)),
        ("`engine.invoke` of an embedded function", *_times(inside.engine_call_us, inside.spawn_us)),
        (f"resident memory with {idle.workers} idle workers", *_mib(idle.loaded_mib, idle.empty_mib)),
    ]
    for what in dict.fromkeys(start.what for start in results.starts):
        seconds = best_start(results, what)
        rows.append((f"start, {what}", f"{seconds * 1e3:.0f} ms", f"{seconds / trio:.2f}"))
    return "### In one process, idle, at the start\n\n" + table(("what", "measured", "ratio"), rows)


def render_scaling(results: Results) -> str:
    """What operations cost while more and more is registered."""
    rows = [
        (what, *(f"{best_scaling(results, what, present):.1f}" for present in PRESENT), f"{growth(results, what):.2f}")
        for what in dict.fromkeys(row.what for row in results.scaling)
    ]
    columns = ("CPU of the engine, µs", *(f"{present:,} present" for present in PRESENT), "ratio")
    return "### With more and more registered\n\n" + table(columns, rows)


def _times(cost: float, unit: float) -> tuple[str, str]:
    return f"{cost:.1f} µs", f"{cost / unit:.2f}"


def _mib(loaded: float, empty: float) -> tuple[str, str]:
    return f"{loaded:.1f} MiB, {loaded - empty:.1f} above the empty engine", ""


def _sizes(routed: Sequence[Routed]) -> Iterator[int]:
    return iter(dict.fromkeys(row.size for row in routed))


def cells(compared: Compared) -> tuple[str, ...]:
    """What was measured, the yardstick, their ratio, and that of each round."""
    each = " ".join(f"{ratio:.2f}" for ratio in compared.per_round)
    return _number(compared.measured), _number(compared.yardstick), f"{compared.ratio:.2f}", each


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace_measured(document: Path, text: str) -> None:
    """Put `text` between the marks of a document. Raises ValueError if it has none."""
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} lacks the marks {BEGIN!r} and {END!r}")
    document.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
