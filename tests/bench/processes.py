"""The processes of a run: routers, a fresh one per measurement, and the drivers that load them."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

from .results import ENGINE, FLOOR, GUARDED

ROOT = Path(__file__).parents[2]
SHARED_FLOOR = ROOT.parent / "shared" / "perf" / "floor.py"
PYTHON = sys.executable
_ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
Cores = frozenset[int] | None
_RBAC = """, rbac: {expose_functions: ['match("shop::*")', {metadata: {public: true}}, 'match("bench::*")']}"""
_PATIENCE = 30.0
_POLL = 0.0005


class ProcessFailed(Exception):
    """A process of the bench ended with an error, or did not do in time what it is there for."""


@attrs.frozen
class Contestant:
    """A router under load. `command(port, folder)` starts it on a port; the folder is its own and temporary."""

    name: str
    command: Callable[[int, Path], Sequence[str]]


@attrs.frozen
class Router:
    """A router that takes connections."""

    port: int
    pid: int


def engine() -> Contestant:
    """The engine as `serve` starts it, with a worker listener and nothing else."""

    def command(port: int, folder: Path) -> Sequence[str]:
        return serve_command(one_listener(port, folder))

    return Contestant(ENGINE, command)


def guarded() -> Contestant:
    """The engine with a listener whose every call passes access control: three filters, of which the last one fits."""

    def command(port: int, folder: Path) -> Sequence[str]:
        return serve_command(one_listener(port, folder, _RBAC))

    return Contestant(GUARDED, command)


def floor(program: Path | None) -> Contestant:
    """The yardstick: a program that takes a port, or the bench's own floor."""

    def command(port: int, _: Path) -> Sequence[str]:
        what = [str(program)] if program is not None else ["-m", "tests.bench.floor"]
        return [PYTHON, *what, str(port)]

    return Contestant(FLOOR, command)


def default_floor() -> Path | None:
    """The shared program where it lies beside the checkout; None for the bench's own."""
    return SHARED_FLOOR if SHARED_FLOOR.exists() else None


def serve_command(config: Path) -> list[str]:
    """The command line that serves one configuration file."""
    return [PYTHON, "-m", "iii_trio", "serve", "--config", str(config)]


def one_listener(port: int, folder: Path, more: str = "") -> Path:
    """A configuration file with one worker listener; `more` are further keys of it, in YAML's flow style."""
    path = folder / "config.yaml"
    config = f"{{host: 127.0.0.1, port: {port}{more}}}"
    path.write_text(f"workers:\n  - name: iii-worker-manager\n    config: {config}\n")
    return path


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a port of 127.0.0.1 can be bound."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def connects(port: int) -> bool:
    """Whether somebody takes connections on a port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@attrs.frozen
class Placement:
    """The cores that the router and its load run on; None where the scheduler decides."""

    router: Cores = None
    load: Cores = None


def pinned() -> Placement:
    """A core for the router, the others for its load; one for both where there is no other."""
    *others, last = sorted(os.sched_getaffinity(0))
    return Placement(frozenset({last}), frozenset(others or {last}))


@contextmanager
def _on(cores: Cores) -> Iterator[None]:
    """Have the processes that the block starts run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if cores is None else cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(contestant: Contestant, cores: Cores = None) -> Iterator[Router]:
    """A fresh process of a contestant, for the length of a block. Raises ProcessFailed if it does not open its port."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        started(contestant.command(port, Path(folder)), (port,), cores=cores) as process,
    ):
        yield Router(port, process.pid)


@contextmanager
def started(
    command: Sequence[str], ports: Sequence[int], cwd: Path = ROOT, cores: Cores = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose ports all take connections when the block begins. Ended, if need be killed, after it."""
    with tempfile.TemporaryFile() as log:
        with _on(cores):
            process = subprocess.Popen(command, cwd=cwd, env=_ENV, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_open(process, ports, log)
            yield process
        finally:
            end(process)


def _wait_open(process: subprocess.Popen[bytes], ports: Sequence[int], log: IO[bytes]) -> None:
    deadline = time.perf_counter() + _PATIENCE
    for port in ports:
        while not connects(port):
            if process.poll() is not None or time.perf_counter() > deadline:
                log.seek(0)
                raise ProcessFailed(f"nothing listens on port {port}: {log.read().decode()[-2000:]}")
            time.sleep(_POLL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make it; what it has written and nobody read is lost."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def run_json(module: str, *arguments: object, cores: Cores = None) -> Any:
    """Run a module of the bench to its end; what its last line says. Raises ProcessFailed."""
    command = [PYTHON, "-m", f"tests.bench.{module}", *map(str, arguments)]
    with _on(cores):
        done = subprocess.run(command, cwd=ROOT, env=_ENV, capture_output=True, timeout=300, check=False)
    if done.returncode:
        raise ProcessFailed(f"{module} failed: {done.stderr.decode()[-2000:]}")
    return last_line(done.stdout)


def spawn(module: str, *arguments: object, cores: Cores = None) -> subprocess.Popen[bytes]:
    """Start a module of the bench whose first line says that it is ready."""
    command = [PYTHON, "-m", f"tests.bench.{module}", *map(str, arguments)]
    with _on(cores):
        process = subprocess.Popen(command, cwd=ROOT, env=_ENV, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"ready":
        end(process)
        raise ProcessFailed(f"{module} did not get ready")
    return process


def harvest(process: subprocess.Popen[bytes]) -> Any:
    """End a process of `spawn`; what its last line says. Raises ProcessFailed."""
    process.terminate()
    out, _ = process.communicate(timeout=60)
    if process.returncode:
        raise ProcessFailed(f"{process.args!r} failed")
    return last_line(out)


def say(what: str) -> None:
    """Tell who waits what is under way."""
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def last_line(out: bytes) -> Any:
    """The JSON value of the last line of an output."""
    return json.loads(out.splitlines()[-1])
