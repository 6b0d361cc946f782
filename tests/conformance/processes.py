"""Processes of a test: the engine as a user starts it, and workers. Their output goes to a file each."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import attrs

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0  # seconds: far more than it takes, on a machine that does other things besides
STEP = 0.02
CONFIG = """\
workers:
  - name: iii-worker-manager
    config: {{ host: 127.0.0.1 }}
  - name: iii-http
    config: {{ host: 127.0.0.1, port: {http} }}
"""
T = TypeVar("T")


def eventually(probe: Callable[[], T | None], what: str, deadline: float = DEADLINE) -> T:
    """The first value of `probe` that is not None.

    Raises:
        AssertionError: There was none within the deadline.
    """
    end = time.monotonic() + deadline
    while (value := probe()) is None:
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(STEP)
    return value


@attrs.define(eq=False)
class Spawned:
    """A process with its output; killed at the end of its test if it still runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def find(self, pattern: str) -> "re.Match[str] | None":
        """The first match of the pattern in what it has said so far. Fails once it has ended without."""
        ended = self.process.poll() is not None
        found = re.search(pattern, self.output(), re.MULTILINE)
        assert found or not ended, f"ended ({self.process.returncode}) before it said {pattern!r}:\n{self.output()}"
        return found

    def stop(self, number: signal.Signals) -> int:
        """Send the signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def finish(self) -> int:
        """Close its stdin, which ends a worker; the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE)


@contextmanager
def spawn(command: list[str], log: Path, env: Mapping[str, str]) -> Iterator[Spawned]:
    """Run a command with its output in a file, and its stdin open for as long as the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent, env=dict(env)
        )
    try:
        yield Spawned(process, log)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


@attrs.define(eq=False)
class Engine:
    """`python -m iii_trio serve` and the two ports it listens on."""

    spawned: Spawned
    workers_port: int
    http_port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.workers_port}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"


@contextmanager
def serving(folder: Path, *, workers_port: int = 0, http_port: int = 0, written: str = CONFIG) -> Iterator[Engine]:
    """Serve with a configuration file in `folder`; ready when entered. Port 0 is a free one."""
    config, log = folder / "engine.yaml", folder / "engine.log"
    config.write_text(written.format(http=http_port))
    log.write_bytes(b"")
    command = [sys.executable, "-m", "iii_trio", "serve", "--config", str(config), "--port", str(workers_port)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with spawn(command, log, env) as spawned:
        ports = [_port(spawned, listener) for listener in ("listener", "http")]
        yield Engine(spawned, *ports)


def _port(spawned: Spawned, listener: str) -> int:
    pattern = rf"\[READY\] {listener} on 127\.0\.0\.1:(\d+)$"
    return int(eventually(lambda: spawned.find(pattern), f"the port of {listener}")[1])
