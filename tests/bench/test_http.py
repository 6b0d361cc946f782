"""The HTTP bench: what it makes of figures, and short runs against real servers."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from . import http_wrk
from .http_bench import DOCUMENT, client, contestants, measure_routed_calls, measure_server
from .http_load import BODY
from .http_results import (
    AIMED,
    ALONE,
    FUNCTION,
    LOADS,
    MANY,
    OWN_ROUTED,
    ROUTED,
    ROUTED_LOADS,
    TOGETHER,
    WORKER,
    Load,
    Results,
    Row,
    render,
    targets,
)
from .http_servers import WORKER_PATH, answering, servers, serving, wait_answered
from .processes import ProcessFailed, floor, run_json
from .report import BEGIN, END
from .results import FLOOR, About, Window
from .routed import Pace

CLIENTS = sorted({"http_load", client()})
ABOUT = About(
    "2026-01-01", "full", "abc", "3.11", {"trio": "0.35.0"}, "a processor", 2, "pinned", "tests/bench/http_floor.py"
)
BLINK = Pace(rounds=1, warm_up=0.05, seconds=0.2)
SERVERS = {server.name: server for server in servers()}

# What wrk wrote: with an answer to every request, with 404 only, and with a server that closes what it accepts.
WELL = b"""Running 1s test @ http://127.0.0.1:9880/function
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    10.04ms   11.50ms 123.81ms   94.07%
    Req/Sec     3.96k   718.80     4.51k    80.00%
  3938 requests in 1.00s, 0.97MB read
Requests/sec:   3928.03
Transfer/sec:      0.96MB
{"calls": 3938, "took_us": 1002539, "p50_us": 7438, "p99_us": 73700, "refused": 0, "broken": 0}
"""
REFUSED = b"""  8021 requests in 1.10s, 2.37MB read
  Non-2xx or 3xx responses: 8021
{"calls": 8021, "took_us": 1100190, "p50_us": 129, "p99_us": 665, "refused": 8021, "broken": 0}
"""
CLOSED = b"""  0 requests in 1.00s, 0.00B read
  Socket errors: connect 0, read 20, write 108817, timeout 0
{"calls": 0, "took_us": 1001070, "p50_us": 0, "p99_us": 0, "refused": 0, "broken": 108837}
"""


def test_the_figures_of_wrk_are_read() -> None:
    told = http_wrk.read(WELL)
    assert (told.calls, told.took_us, told.p50_us, told.p99_us) == (3938, 1_002_539, 7438, 73_700)


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(REFUSED, id="all refused"),
        pytest.param(WELL.replace(b'"refused": 0', b'"refused": 1'), id="one refused"),
        pytest.param(WELL.replace(b'"broken": 0', b'"broken": 1'), id="one broken"),
        pytest.param(CLOSED, id="closed"),
    ],
)
def test_figures_of_requests_that_were_not_answered_well_are_refused(output: bytes) -> None:
    with pytest.raises(RuntimeError, match="not all of them well"):
        http_wrk.read(output)


def window(cpu_us: float, p50_us: float = 100.0) -> Window:
    return Window(calls=1000, per_s=1e6 / cpu_us, cpu_us=cpu_us, p50_us=p50_us, p99_us=2 * p50_us)


def rows(contestant: str, load: Load, *cpu_us: float) -> list[Row]:
    return [Row(contestant, load, round_, window(cpu)) for round_, cpu in enumerate(cpu_us)]


def results(*more: Row) -> Results:
    alone = [
        *rows(FLOOR, ALONE, 50.0, 40.0),
        *rows(FUNCTION, ALONE, 80.0, 90.0),
        *rows(WORKER, ALONE, 150.0, 160.0),
    ]
    one = [
        *rows(FLOOR, TOGETHER, 12.0, 10.0),
        *rows(FUNCTION, TOGETHER, 25.0, 26.0),
        *rows(WORKER, TOGETHER, 90.0, 81.0),
        *rows(ROUTED, TOGETHER, 40.0, 50.0),
        *rows(OWN_ROUTED, TOGETHER, 30.0, 27.0),
    ]
    many = [
        *rows(FLOOR, MANY, 10.0, 8.0),
        *rows(FUNCTION, MANY, 24.0, 30.0),
        *rows(WORKER, MANY, 20.0, 18.0),
        *rows(ROUTED, MANY, 9.0, 12.0),
        *rows(OWN_ROUTED, MANY, 6.0, 7.0),
    ]
    return Results(ABOUT, "wrk 4.1.0", [*alone, *one, *many, *more])


def test_the_least_of_all_rounds_is_compared_with_the_least_of_the_yardstick() -> None:
    assert [(target.measured, target.limit, target.is_met) for target in targets(results())] == [
        (2.0, 2.5, True),  # 80 of the first round, 40 of the second
        (3.0, 2.5, False),
        (81.0 / 40.0, 2.0, False),
        (2.0, 2.0, True),
    ]


def test_a_function_is_measured_by_the_floor_and_a_worker_by_routed_calls() -> None:
    faster = results(*rows(ROUTED, MANY, 6.0), *rows(FLOOR, ALONE, 20.0), *rows(OWN_ROUTED, MANY, 1.0))
    before, after = ({target.what: target.measured for target in targets(run)} for run in (results(), faster))
    assert {what: after[what] / before[what] for what in before if after[what] != before[what]} == {
        "CPU per request, fast, function, 1 connection": 2.0,
        "CPU per request, fast, worker, 32 connections": 1.5,
    }


def test_the_tables_show_every_round_and_every_server() -> None:
    text = render(results(*(row for load in LOADS for row in rows("bare uvicorn", load, 30.0))))
    assert "full run with 2 alternations" in text
    assert "Load: wrk 4.1.0." in text
    assert (
        "| CPU per request, fast, worker, 1 connection, same core | ≤ 2 times a routed call of the floor | 2.02 | **no** |"
        in text
    )
    assert "| CPU per request, fast, worker, 32 connections | routed call of the engine | 18.0 | 6.0 | 3.00 |" in text
    assert (
        "| CPU per request, fast, function, 1 connection, same core | floor | 25.0 | 10.0 | 2.50 | 2.08 2.60 |" in text
    )
    assert "| routed call of the floor | saturated | 111,111 | 9.0 | 1.12 | 100 | 200 |" in text
    assert "| bare uvicorn | 1, same core | 33,333 | 30.0 | 3.00 | 100 | 200 |" in text


def test_a_latency_that_was_not_noted_is_not_shown_as_none() -> None:
    unnoted = [Row(ROUTED, MANY, round_, window(1.0, p50_us=0.0)) for round_ in range(2)]
    assert "| routed call of the floor | saturated | 1,000,000 | 1.0 | 0.12 |  |  |" in render(results(*unnoted))


def test_the_document_has_a_place_for_the_tables() -> None:
    assert BEGIN in DOCUMENT.read_text(encoding="utf-8").partition(END)[0]


def test_what_has_targets_is_measured_in_every_round() -> None:
    pace = Pace(rounds=4, warm_up=0.0, seconds=0.0)
    assert {ROUTED, OWN_ROUTED, FLOOR, FUNCTION, WORKER} == AIMED
    assert [len(contestants(round_, pace)) for round_ in range(4)] == [2 + len(SERVERS)] * 2 + [len(AIMED)] * 2
    assert len(contestants(0, BLINK)) == 2 + len(SERVERS)


@pytest.mark.parametrize("load", CLIENTS)
def test_requests_are_answered_and_their_cost_is_seen(load: str) -> None:
    with serving(SERVERS[FLOOR], None) as server, answering(server, None):
        aim = ("--port", server.port, "--pid", server.pid, "--path", server.path, "--connections", 2)
        told = run_json(load, *aim, "--warm-up", 0.05, "--seconds", 0.5)
    assert 0 < told["cpu_us"] * told["calls"] < 1.5e6  # one thread, for a second at the most
    assert 0 < told["p50_us"] <= told["p99_us"]
    assert told["calls"] > told["per_s"] * 0.4 > 0


@pytest.mark.parametrize("load", CLIENTS)
def test_answers_other_than_success_end_the_run(load: str) -> None:
    with (
        serving(SERVERS[FUNCTION], None) as server,
        pytest.raises(ProcessFailed, match="were answered, not all of them"),
    ):
        run_json(
            load, "--port", server.port, "--pid", server.pid, "--path", "/nowhere", "--warm-up", 0, "--seconds", 0.1
        )


@pytest.mark.parametrize("load", CLIENTS)
def test_all_clients_make_the_same_request(load: str) -> None:
    with listening() as (port, heard):
        run_json(load, "--port", port, "--pid", os.getpid(), "--path", "/there", "--warm-up", 0.05, "--seconds", 0.1)
    fields = {
        "user-agent": "bench",
        "accept": "*/*",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
    }
    method, path, headers, body = heard[0]
    host = headers.pop("host")
    assert (method, path, headers, body) == ("POST", "/there", fields, BODY)
    assert host.startswith("127.0.0.1")


@contextmanager
def listening() -> Iterator[tuple[int, list[tuple[str, str, dict[str, str], bytes]]]]:
    """A server that notes what it is asked."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            fields = {name.lower(): value for name, value in self.headers.items()}
            heard.append((self.command, self.path, fields, self.rfile.read(int(fields["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, heard
        finally:
            server.shutdown()
            thread.join()


def test_a_server_is_measured_under_every_load() -> None:
    measured = measure_server(SERVERS[WORKER], 3, BLINK)
    assert [(row.contestant, row.load, row.round) for row in measured] == [(WORKER, load, 3) for load in LOADS]
    assert all(row.window.cpu_us > 0 and row.window.p50_us > 0 for row in measured)


def test_single_calls_are_the_yardstick_of_one_connection() -> None:
    single, saturated = measure_routed_calls(ROUTED, floor(None), 3, BLINK)
    assert [(row.contestant, row.round) for row in (single, saturated)] == [(ROUTED, 3)] * 2
    assert [single.load, saturated.load] == list(ROUTED_LOADS)
    assert single.window.p50_us > 0 == saturated.window.p50_us  # latencies are noted of single calls alone


def test_a_worker_is_waited_for_and_comes_again() -> None:
    with serving(SERVERS[WORKER], None) as server:
        for _ in range(2):
            with answering(server, None):
                wait_answered(server.port, WORKER_PATH, patience=0)
        with pytest.raises(ProcessFailed, match="/nowhere is answered with 404"):
            wait_answered(server.port, "/nowhere", patience=0)
