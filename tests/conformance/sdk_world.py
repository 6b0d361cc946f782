"""An engine and one worker per published SDK, all connected to it at once."""

import os
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
    """Where the engine is and what the workers are; `engine` changes when a test starts another one."""

    engine: Engine
    workers: dict[str, Spawned]
    folder: Path

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
def open_world(folder: Path, installed: Mapping[Sdk, Path], engine: Engine) -> Iterator[World]:
    """Start a worker of every SDK; all of them serve when entered."""
    with ExitStack() as stack:
        workers = {sdk.name: stack.enter_context(_worker(folder, sdk, installed[sdk], engine.url)) for sdk in SDKS}
        world = World(engine, workers, folder)
        for name in workers:
            world.wait_serving(name)
        yield world


@contextmanager
def open_served_world(folder: Path, installed: Mapping[Sdk, Path]) -> Iterator[World]:
    """The same with an engine of its own."""
    with serving(folder) as engine, open_world(folder, installed, engine) as world:
        yield world


@contextmanager
def _worker(folder: Path, sdk: Sdk, installed: Path, url: str) -> Iterator[Spawned]:
    with running(folder, sdk, installed, "worker", url, url, sdk.name, *(every.name for every in SDKS)) as spawned:
        yield spawned


@contextmanager
def running(folder: Path, sdk: Sdk, installed: Path, script: str, telemetry: str, *arguments: str) -> Iterator[Spawned]:
    """A script in a process of its own; `telemetry` is the engine that gets what old packages send elsewhere."""
    home = folder / f"{script}-{sdk.name}"
    home.mkdir()
    command = [*worker_command(sdk, installed, home, script), *arguments]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("III_", "OTEL_", "PYTHON"))}
    # The Python package 0.11 sends its telemetry to III_URL, not to the engine it was given.
    env = {**inherited, "HOME": str(home), "III_URL": telemetry, "PYTHONUNBUFFERED": "1"}
    with spawn(command, home / "worker.log", env) as spawned:
        yield spawned
