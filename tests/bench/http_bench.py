"""`just bench http`: what a request over HTTP costs, beside the least that Trio can do and beside other servers."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import cattrs

from .processes import PYTHON, ROOT, Cores, Placement, end, free_port, pinned, run_json, spawn, started
from .results import Window
from .targets import Target

RECORD = ROOT / "docs" / "performance" / "http.json"
DOCUMENT = ROOT / "docs" / "performance-http.md"
CONNECTIONS = (1, 32)
FLOOR, FUNCTION, WORKER = "floor", "fast, function", "fast, worker"
_START, _END = "<!-- measured: written by `just bench http` -->\n", "<!-- end of what is measured -->\n"


@attrs.frozen
class Contestant:
    """A server under load: `command(port, worker_port)` starts it, `path` is what it is asked for."""

    name: str
    command: Callable[[int, int], Sequence[str]]
    path: str = "/function"


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

    rows: Sequence[Row]

    def best(
        self, contestant: str, connections: int, figure: Callable[[Window], float], pick: Callable[..., float]
    ) -> float:
        """The best round of a figure."""
        rows = [row for row in self.rows if (row.contestant, row.connections) == (contestant, connections)]
        return pick(figure(row.window) for row in rows)


def contestants() -> list[Contestant]:
    """The engine with each of its servers and both kinds of functions, the floor, and what others wrote."""

    def module(name: str, *more: str) -> Callable[[int, int], Sequence[str]]:
        return lambda port, worker: [
            PYTHON,
            "-m",
            f"tests.bench.{name}",
            str(port),
            *([str(worker), *more] if more else []),
        ]

    def hypercorn(port: int, _: int) -> Sequence[str]:
        return [
            PYTHON,
            "-m",
            "hypercorn",
            "-k",
            "trio",
            "-w",
            "0",
            "-b",
            f"127.0.0.1:{port}",
            "tests.bench.http_app:app",
        ]

    def uvicorn(port: int, _: int) -> Sequence[str]:
        options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
        return [PYTHON, "-m", "uvicorn", "--port", str(port), *options, "tests.bench.http_app:app"]

    return [
        Contestant(FLOOR, module("http_floor")),
        Contestant(FUNCTION, module("http_engine", "fast")),
        Contestant(WORKER, module("http_engine", "fast"), "/worker"),
        Contestant("hypercorn, function", module("http_engine", "hypercorn")),
        Contestant("bare hypercorn on Trio", hypercorn),
        Contestant("bare uvicorn", uvicorn),
    ]


@contextmanager
def serving(contestant: Contestant, place: Placement) -> Iterator[tuple[int, int]]:
    """A fresh process of a contestant, with its worker where it needs one: port and process id."""
    port, worker_port = free_port(), free_port()
    with ExitStack() as running:
        ports = [port, worker_port] if contestant.path == "/worker" else [port]
        process = running.enter_context(started(contestant.command(port, worker_port), ports, cores=place.router))
        if contestant.path == "/worker":
            running.callback(end, spawn("http_worker", worker_port, cores=place.load))
        yield port, process.pid


def measure(rounds: int, warm_up: float, seconds: float, place: Placement) -> Results:
    """Every contestant in turn, round after round, so that a noisy moment hits them alike."""
    rows = []
    for number in range(rounds):
        for contestant in contestants():
            print(f"measuring: round {number + 1}, {contestant.name}", file=sys.stderr, flush=True)
            with serving(contestant, place) as (port, pid):
                for connections in CONNECTIONS:
                    window = load(port, pid, contestant.path, connections, warm_up, seconds, place.load)
                    rows.append(Row(contestant.name, connections, number, window))
    return Results(rows)


def load(port: int, pid: int, path: str, connections: int, warm_up: float, seconds: float, cores: Cores) -> Window:
    aim = ("--port", port, "--pid", pid, "--path", path, "--connections", connections)
    pace = ("--warm-up", warm_up, "--seconds", seconds)
    return cattrs.structure(run_json("http_load", *aim, *pace, cores=cores), Window)


def targets(results: Results) -> list[Target]:
    """What the figures should be, and what they are."""
    found = []
    for connections in CONNECTIONS:
        floor = results.best(FLOOR, connections, lambda window: window.cpu_us, min)
        for name, limit in ((FUNCTION, 2.5), (WORKER, 4.0)):
            cpu = results.best(name, connections, lambda window: window.cpu_us, min)
            what = f"CPU per request, {name}, {connections} connection{'s' * (connections > 1)}"
            found.append(Target(what, limit, cpu / floor, "times the floor"))
    return found


def render(results: Results) -> str:
    """The run as Markdown."""
    lines = ["| figure | target | measured | met |", "| --- | --- | --- | --- |"]
    for target in targets(results):
        met = "yes" if target.is_met else "**no**"
        lines.append(f"| {target.what} | ≤ {target.limit} {target.unit} | {target.measured:.2f} | {met} |")
    lines += ["", "| server | connections | requests/s | CPU per request, µs | times the floor | p50, µs | p99, µs |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    names = list(dict.fromkeys(row.contestant for row in results.rows))
    lines += [line(results, name, connections) for connections in CONNECTIONS for name in names]
    return "\n".join(lines) + "\n"


def line(results: Results, name: str, connections: int) -> str:
    rate = results.best(name, connections, lambda window: window.per_s, max)
    cpu, p50, p99 = (
        results.best(name, connections, figure, min)
        for figure in (lambda window: window.cpu_us, lambda window: window.p50_us, lambda window: window.p99_us)
    )
    floor = results.best(FLOOR, connections, lambda window: window.cpu_us, min)
    return f"| {name} | {connections} | {rate:,.0f} | {cpu:.1f} | {cpu / floor:.2f} | {p50:,.0f} | {p99:,.0f} |"


def replace_measured(path: Path, text: str) -> None:
    """Put a rendered run into its place in the document."""
    before, _, rest = path.read_text(encoding="utf-8").partition(_START)
    _, _, after = rest.partition(_END)
    path.write_text(f"{before}{_START}\n{text}\n{_END}{after}", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 if every target is met, else 1."""
    parser = argparse.ArgumentParser(prog="just bench http", description="measure requests over HTTP")
    parser.add_argument("--quick", action="store_true", help="one short round; the record stays as it is")
    parser.add_argument("--free", action="store_true", help="leave it to the scheduler what runs on which core")
    options = parser.parse_args(arguments)
    place = Placement() if options.free else pinned()
    results = measure(1, 0.2, 0.6, place) if options.quick else measure(3, 0.5, 2.0, place)
    if not options.quick:
        RECORD.write_text(json.dumps(cattrs.unstructure(results), indent=1) + "\n", encoding="utf-8")
        replace_measured(DOCUMENT, render(results))
    print(render(results))
    return 0 if all(target.is_met for target in targets(results)) else 1
