"""One run of the bench: see docs/performance.md for what it measures and why so."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import cattrs

from . import http_bench
from .about import about
from .idle import measure_idle
from .processes import ROOT, SHARED_FLOOR, Contestant, Placement, default_floor, engine, floor, guarded, run_json, say
from .report import render, render_scaling, render_targets, replace_measured
from .results import InProcess, Results, dump, load
from .routed import Pace, measure_fairness, measure_routed
from .scaling import measure_scaling
from .startup import measure_starts
from .targets import scaling_targets, targets

DOCUMENT = ROOT / "docs" / "performance.md"
RECORD = ROOT / "docs" / "performance" / "results.json"
QUICK = Pace(rounds=1, warm_up=0.2, seconds=0.6, probe_seconds=2.0, probed=("own",))
FULL = Pace(rounds=4, warm_up=0.5, seconds=3.0)
_PACKAGES = ("trio", "msgspec", "websockets", "picows", "uvloop")


def measure(pace: Pace, *, quick: bool, program: Path | None) -> Results:
    """Everything, saying on stderr what is under way; a quick run leaves access control out."""
    named = "tests/bench/floor.py" if program is None else f"../shared/perf/{program.name}"
    where = about(pace.placement, named, _PACKAGES, quick=quick)
    contestants: Sequence[Contestant] = (engine(), floor(program))
    routed_through = contestants if quick else (*contestants, guarded())
    say("start to open ports")
    starts = measure_starts(2 if quick else 5)
    say("1,000 idle workers")
    idle = measure_idle()
    say("calls inside one process")
    in_process = cattrs.structure(run_json("in_process", 20 if quick else 100), InProcess)
    say("routed calls")
    routed = measure_routed(routed_through, pace)
    say("fairness")
    fairness = measure_fairness(contestants, pace)
    say("registrations with more and more registered")
    scaling = measure_scaling(pace.rounds, pace.placement.router)
    return Results(where, routed, fairness, in_process, idle, starts, scaling)


def main() -> int:
    """Exit code 0 if every target is met, else 1."""
    if sys.argv[1:2] == ["http"]:
        return http_bench.main(sys.argv[2:])
    options = parse()
    if options.scaling:
        return only_scaling(pace_of(options))
    if options.render:
        results = load(RECORD)
    else:
        program = floor_of(options)
        results = measure(pace_of(options), quick=options.quick, program=program)
    if not options.quick:
        dump(results, RECORD)
        replace_measured(DOCUMENT, render(results))
    print(render(results) if options.quick else render_targets(targets(results)))
    return 0 if all(target.is_met for target in targets(results)) else 1


def only_scaling(pace: Pace) -> int:
    """Measure and print nothing but how costs grow. Exit code 0 if those targets are met, else 1."""
    measured = measure_scaling(pace.rounds, pace.placement.router)
    results = attrs.evolve(load(RECORD), scaling=measured)
    print(render_scaling(results))
    return 0 if all(target.is_met for target in scaling_targets(results)) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just bench", description="measure the engine against the floor")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="one short alternation; the record stays as it is")
    mode.add_argument("--render", action="store_true", help="measure nothing; write the tables of the record anew")
    mode.add_argument(
        "--scaling", action="store_true", help="only what registrations cost with more and more registered"
    )
    parser.add_argument("--floor", choices=("shared", "own"), help="default: shared, where it lies beside the checkout")
    parser.add_argument("--free", action="store_true", help="leave it to the scheduler what runs on which core")
    return parser.parse_args()


def pace_of(options: argparse.Namespace) -> Pace:
    pace = QUICK if options.quick else FULL
    return attrs.evolve(pace, placement=Placement()) if options.free else pace


def floor_of(options: argparse.Namespace) -> Path | None:
    """The program to be the floor; None for the bench's own."""
    if options.floor is None:
        return default_floor()
    return SHARED_FLOOR if options.floor == "shared" else None


if __name__ == "__main__":
    sys.exit(main())
