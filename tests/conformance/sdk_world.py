"""An engine and one worker per published SDK, all connected to it at once."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
from asking import Answer, Exchange, ask
from processes import Engine, Spawned, eventually, serving, spawn
from sdk_install import SDKS, Sdk, worker_command

Ask = Callable[[str, str, str, str | None], Exchange]


@attrs.define(eq=False)
class World:
    """Where the engine is and what the workers are; both change when a test ends one and starts another."""

    engine: Engine
    folder: Path
    installed: Mapping[Sdk, Path]
    running: ExitStack
    workers: dict[str, Spawned] = attrs.field(factory=dict)

    def start_worker(self, sdk: Sdk) -> None:
        """Start a worker with this SDK, or another one under its name."""
        url, names = self.engine.url, (every.name for every in SDKS)
        process = running(self.folder, sdk, self.installed[sdk], "worker", url, url, sdk.name, *names)
        self.workers[sdk.name] = self.running.enter_context(process)

    def start_engine(self) -> None:
        """Start another engine on the ports of the one that has ended."""
        ports = {"workers_port": self.engine.workers_port, "http_port": self.engine.http_port}
        self.engine = self.running.enter_context(serving(self.folder, **ports))

    def ask(self, method: str, target: str, body: str | None = None) -> Answer:
        return ask(self.engine.http, method, target, body).answer

    def relay(self, caller: str, function: str, body: str, *, void: bool = False) -> Any:
        """What the worker `caller` reports of its call of `function` with this JSON."""
        answer = self.ask("POST", f"/{caller}/relay?to={function}" + ("&void" if void else ""), body)
        assert answer.status == 200, answer
        return answer.body

    def notes(self, name: str) -> list[Any]:
        """What the function `note` of a worker was called with since it started."""
        answer = self.ask("GET", f"/{name}/notes")
        assert answer.status == 200, answer
        notes: list[Any] = answer.body
        return notes

    def wait_serving(self, name: str) -> None:
        """Wait until everything the worker registers is there: its route `notes` is the last."""

        def probe() -> bool | None:
            alive = self.workers[name].process.poll() is None
            assert alive, f"{name} ended:\n{self.workers[name].output()}"
            return True if self.ask("GET", f"/{name}/notes").status == 200 else None

        eventually(probe, f"{name} serves")


@contextmanager
def open_served_world(folder: Path, installed: Mapping[Sdk, Path]) -> Iterator[World]:
    """An engine and a worker of every SDK; all of them serve when entered."""
    with ExitStack() as running:
        world = World(running.enter_context(serving(folder)), folder, installed, running)
        for sdk in SDKS:
            world.start_worker(sdk)
        for sdk in SDKS:
            world.wait_serving(sdk.name)
        yield world


@contextmanager
def running(folder: Path, sdk: Sdk, installed: Path, script: str, telemetry: str, *arguments: str) -> Iterator[Spawned]:
    """A script in a process of its own; `telemetry` is the engine that gets what old packages send elsewhere."""
    home = Path(tempfile.mkdtemp(prefix=f"{script}-{sdk.name}-", dir=folder))
    command = [*worker_command(sdk, installed, home, script), *arguments]
    with spawn(command, home / "worker.log", worker_environment(home, telemetry)) as spawned:
        yield spawned


def worker_environment(home: Path, url: str) -> dict[str, str]:
    """What a worker gets to see of this process's environment."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("III_", "OTEL_", "PYTHON"))}
    # The Python package 0.11 sends its telemetry to III_URL, not to the engine it was given.
    return {**inherited, "HOME": str(home), "III_URL": url, "PYTHONUNBUFFERED": "1"}
