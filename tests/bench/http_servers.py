"""The HTTP servers under load: the engine with either of its own, the floor, and what others wrote."""

import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import attrs

from .http_load import BODY
from .http_results import FUNCTION, WORKER
from .processes import PYTHON, Cores, ProcessFailed, end, free_port, spawn, started
from .results import FLOOR

WORKER_PATH = "/worker"
_PATIENCE = 30.0
_POLL = 0.005


@attrs.frozen
class Server:
    """A server under load: `command(port, worker_port)` starts it, `path` is what it is asked for."""

    name: str
    command: Callable[[int, int], Sequence[str]]
    path: str = "/function"


@attrs.frozen
class Serving:
    """A server that takes connections."""

    port: int
    worker_port: int
    pid: int
    path: str


def servers() -> list[Server]:
    """Who is measured."""
    return [
        Server(FLOOR, lambda port, _: _module("tests.bench.http_floor", port)),
        Server(FUNCTION, _engine("fast")),
        Server(WORKER, _engine("fast"), WORKER_PATH),
        Server("hypercorn, function", _engine("hypercorn")),
        Server("bare hypercorn on Trio", _hypercorn),
        Server("bare uvicorn", _uvicorn),
    ]


def _module(name: str, *arguments: object) -> list[str]:
    return [PYTHON, "-m", name, *map(str, arguments)]


def _engine(server: str) -> Callable[[int, int], Sequence[str]]:
    return lambda port, worker_port: _module("tests.bench.http_engine", port, worker_port, server)


def _hypercorn(port: int, _: int) -> Sequence[str]:
    return _module("hypercorn", "-k", "trio", "-w", 0, "-b", f"127.0.0.1:{port}", "tests.bench.http_app:app")


def _uvicorn(port: int, _: int) -> Sequence[str]:
    options = ("--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning")
    return _module("uvicorn", "--port", port, *options, "tests.bench.http_app:app")


@contextmanager
def serving(server: Server, cores: Cores) -> Iterator[Serving]:
    """A fresh process of a server, for the length of a block."""
    port, worker_port = free_port(), free_port()
    ports = (port, worker_port) if server.path == WORKER_PATH else (port,)
    with started(server.command(port, worker_port), ports, cores=cores) as process:
        yield Serving(port, worker_port, process.pid, server.path)


@contextmanager
def answering(server: Serving, cores: Cores) -> Iterator[None]:
    """Its worker where it needs one, for the length of a block that begins when requests are answered with 200."""
    with _worker(server.worker_port, cores) if server.path == WORKER_PATH else nullcontext():
        wait_answered(server.port, server.path)
        yield


@contextmanager
def _worker(port: int, cores: Cores) -> Iterator[None]:
    process = spawn("http_worker", port, cores=cores)
    try:
        yield
    finally:
        end(process)


def wait_answered(port: int, path: str, patience: float = _PATIENCE) -> None:
    """Ask until the answer is 200. Raises ProcessFailed if it is not within `patience` seconds."""
    deadline = time.perf_counter() + patience
    while (status := _ask(port, path)) != http.client.OK:
        if time.perf_counter() > deadline:
            raise ProcessFailed(f"{path} is answered with {status}")
        time.sleep(_POLL)


def _ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("POST", path, BODY, {"content-type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()
