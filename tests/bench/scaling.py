"""How the cost of a registration grows with what is registered already, as a worker causes it: raw frames over a socket.

Every figure is CPU time of the engine's process for one batch of messages, between the moment before they are sent and
the answer to the `ping` behind them (or the end of the connection, for a disconnect), divided by their number.
"""

import json
import select
import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from websockets.frames import Frame, Opcode

from .idle import connect_idle, read_until
from .processes import Cores, Router, free_port, serve_command, started
from .results import Scaling

PRESENT = (500, 1500, 5000)
"""How much is registered before the measurement begins."""

BATCH = 500
"""Operations between two looks at the clock."""

_PATIENCE = 10.0
_POLL = 0.0005
Say = dict[str, Any]


@attrs.frozen
class Batch:
    """Messages, and how many operations they are."""

    said: Sequence[Say]
    operations: int


@attrs.frozen
class Case:
    """One thing whose cost must not grow. `present(number)` is what is there before, `batches` what is measured by turns."""

    present: Callable[[int], Sequence[Say]]
    batches: dict[str, Batch]
    disconnects: str | None = None
    """The name of a further figure: the worker that has said the first batch leaves, per operation."""


def register_function(name: str, number: int) -> Say:
    return {"type": "registerfunction", "id": f"{name}::{number}"}


def register_trigger(kind: str, name: str, number: int) -> Say:
    config = {"api_path": f"{name}/{number}", "http_method": "GET"}
    trigger = {"id": f"{name}-{number}", "trigger_type": kind, "function_id": f"{name}::{number}", "config": config}
    return {"type": "registertrigger", **trigger}


def _messages(make: Callable[[int], Say], count: int = BATCH) -> list[Say]:
    return [make(number) for number in range(count)]


def _functions() -> Case:
    present = partial(_messages, partial(register_function, "present"))
    batches = {
        "a function registered": Batch(_messages(partial(register_function, "new")), BATCH),
        "a function withdrawn": Batch(_messages(lambda n: {"type": "unregisterfunction", "id": f"new::{n}"}), BATCH),
    }
    return Case(present, batches, disconnects="a function cleaned up")


def _triggers(kind: str, name: str) -> Case:
    """Triggers of a type that the worker provides itself, or of a module."""
    provided = [] if kind == "http" else [{"type": "registertriggertype", "id": kind, "description": ""}]

    def present(count: int) -> list[Say]:
        return provided + _messages(partial(register_trigger, kind, "present"), count)

    batches = {
        f"{name} registered": Batch(_messages(partial(register_trigger, kind, "new")), BATCH),
        f"{name} withdrawn": Batch(_messages(lambda n: {"type": "unregistertrigger", "id": f"new-{n}"}), BATCH),
    }
    return Case(present, batches, disconnects=f"{name} cleaned up")


def _types() -> Case:
    present = _triggers("bell", "").present
    come = {"type": "registertriggertype", "id": "clock", "description": ""}
    go = {"type": "unregistertriggertype", "id": "clock"}
    return Case(present, {"a trigger type come and gone": Batch([come, go] * BATCH, BATCH)})


CASES = (_functions(), _triggers("bell", "a worker's trigger"), _triggers("http", "an HTTP route"), _types())


def measure_scaling(rounds: int, cores: Cores = None, present: Sequence[int] = PRESENT) -> list[Scaling]:
    """Every case at every level, each round in a fresh engine; within one the best of several batches counts."""
    return [
        Scaling(what, level, round_, cost)
        for round_ in range(rounds)
        for case in CASES
        for level in present
        for what, cost in _measure(case, level, cores).items()
    ]


def _measure(case: Case, level: int, cores: Cores, repetitions: int = 8) -> dict[str, float]:
    with _engine(cores) as router, ExitStack() as connected:
        holder = connected.enter_context(connect_idle(router))
        _say(holder, case.present(level))
        worker = connected.enter_context(connect_idle(router))
        costs = defaultdict(list)
        for _ in range(repetitions):
            for what, batch in case.batches.items():
                costs[what].append(_cost(router, batch.operations, partial(_say, worker, batch.said)))
                _drain(holder)
            if case.disconnects is not None:
                costs[case.disconnects].append(_cost_of_leaving(router, next(iter(case.batches.values()))))
    return {what: min(measured) for what, measured in costs.items()}


def _cost_of_leaving(router: Router, batch: Batch) -> float:
    with connect_idle(router) as worker:
        _say(worker, batch.said)
        return _cost(router, batch.operations, partial(_leave, worker))


def _cost(router: Router, operations: int, act: Callable[[], None]) -> float:
    """Microseconds of the engine per operation."""
    before = cpu_seconds(router.pid)
    act()
    return (cpu_seconds(router.pid) - before) / operations * 1e6


def cpu_seconds(pid: int) -> float:
    """CPU time of a process's main thread, where the engine runs, once it sleeps: only then it is counted to the end.

    Raises TimeoutError if it does not come to rest.
    """
    deadline = time.perf_counter() + _PATIENCE
    while Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "S":
        if time.perf_counter() > deadline:
            raise TimeoutError(f"process {pid} is still busy after {_PATIENCE} s")
        time.sleep(_POLL)
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def _say(peer: socket.socket, said: Sequence[Say]) -> None:
    """Send messages and wait until they have been handled. What is told in return is read and forgotten."""
    for start in range(0, len(said), BATCH):
        texts = [json.dumps(message).encode() for message in said[start : start + BATCH]]
        peer.sendall(b"".join(Frame(Opcode.TEXT, text).serialize(mask=True) for text in [*texts, b'{"type":"ping"}']))
        read_until(peer, b'"pong"')


def _drain(peer: socket.socket) -> None:
    """Read what has been told a provider, so that its messages never wait in the engine."""
    while select.select([peer], [], [], 0)[0]:
        peer.recv(1 << 20)


def _leave(peer: socket.socket) -> None:
    """Say no more and wait for the engine's end of the connection, which comes when all has been undone."""
    peer.shutdown(socket.SHUT_WR)
    while peer.recv(65536):
        pass


@contextmanager
def _engine(cores: Cores) -> Iterator[Router]:
    """An engine with a worker listener and the http module, so that there are triggers of a module, too."""
    port, http = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(
            f"workers:\n  - name: iii-worker-manager\n    config: {{host: 127.0.0.1, port: {port}}}\n"
            f"  - name: iii-http\n    config: {{host: 127.0.0.1, port: {http}}}\n"
        )
        with started(serve_command(config), [port, http], Path(folder), cores) as process:
            yield Router(port, process.pid)
