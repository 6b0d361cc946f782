"""`just bench http`: what a request over HTTP costs, beside the least that Trio can do and beside other servers."""

import argparse
import shutil
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import cattrs

from . import http_wrk
from .about import about
from .http_results import AIMED, LOADS, OWN_ROUTED, ROUTED, ROUTED_LOADS, Load, Results, Row, render, targets
from .http_servers import Server, Serving, answering, servers, serving
from .processes import ROOT, Contestant, Placement, default_floor, engine, floor, run_json, say
from .report import replace_measured
from .results import Window, dump
from .routed import SIZES, Pace, measure_calls, turns

RECORD = ROOT / "docs" / "performance" / "http.json"
DOCUMENT = ROOT / "docs" / "performance-http.md"
QUICK = Pace(rounds=1, warm_up=0.2, seconds=0.6)
FULL = Pace(rounds=4, warm_up=0.5, seconds=2.0)
_PACKAGES = ("trio", "httptools", "msgspec", "hypercorn", "uvicorn", "picows", "uvloop")


def measure(pace: Pace, *, quick: bool) -> Results:
    """Everybody in turn, round after round, so that a noisy moment hits them alike."""
    rows = [
        row
        for round_ in range(pace.rounds)
        for contestant in turns(contestants(round_, pace), round_)
        for row in contestant(round_, pace)
    ]
    where = about(pace.placement, "tests/bench/http_floor.py", _PACKAGES, quick=quick)
    load = http_wrk.version() if client() == "http_wrk" else "tests/bench/http_load.py"
    return Results(where, load, rows)


def contestants(round_: int, pace: Pace) -> list[Callable[[int, Pace], list[Row]]]:
    """Who is measured in a round: all, in its second half those with targets alone, the best of which needs most rounds."""
    is_second_half = round_ > 0 and round_ >= pace.rounds / 2
    measured = [server for server in servers() if server.name in AIMED or not is_second_half]
    routers = {ROUTED: floor(default_floor()), OWN_ROUTED: engine()}
    calls = (partial(measure_routed_calls, name, router) for name, router in routers.items())
    return [*calls, *(partial(measure_server, server) for server in measured)]


def client() -> str:
    """The module that makes the requests: with wrk where that is present."""
    return "http_wrk" if shutil.which("wrk") else "http_load"


def measure_routed_calls(name: str, router: Contestant, round_: int, pace: Pace) -> list[Row]:
    """The yardstick of requests that a worker answers: a smallest call of the other bench, measured as there."""
    say(f"round {round_ + 1}, {name}")
    calls = measure_calls(router, min(SIZES), round_, pace)
    windows = (calls.one_at_a_time, calls.saturated)
    return [Row(name, load, round_, window) for load, window in zip(ROUTED_LOADS, windows, strict=True)]


def measure_server(server: Server, round_: int, pace: Pace) -> list[Row]:
    """A fresh process of a server under every load."""
    say(f"round {round_ + 1}, {server.name}")
    with serving(server, pace.placement.router) as running:
        return [Row(server.name, load, round_, ask(running, load, pace)) for load in LOADS]


def ask(server: Serving, load: Load, pace: Pace) -> Window:
    """A server under load; its worker, if it has one, runs where the load does."""
    cores = pace.placement.router if load.shares_core else pace.placement.load
    aim = ("--port", server.port, "--pid", server.pid, "--path", server.path, "--connections", load.connections)
    with answering(server, cores):
        told = run_json(client(), *aim, "--warm-up", pace.warm_up, "--seconds", pace.seconds, cores=cores)
    return cattrs.structure(told, Window)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 if every target is met, else 1."""
    parser = argparse.ArgumentParser(prog="just bench http", description="measure requests over HTTP")
    parser.add_argument("--quick", action="store_true", help="one short round; the record stays as it is")
    parser.add_argument("--free", action="store_true", help="leave it to the scheduler what runs on which core")
    options = parser.parse_args(arguments)
    pace = QUICK if options.quick else FULL
    results = measure(attrs.evolve(pace, placement=Placement()) if options.free else pace, quick=options.quick)
    if not options.quick:
        dump(results, RECORD)
        replace_measured(DOCUMENT, render(results))
    print(render(results))
    return 0 if all(target.is_met for target in targets(results)) else 1
