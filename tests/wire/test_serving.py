"""What signals do to an engine, before it is up, while it runs and while it stops (config-cli-modules 3, 12)."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import attrs
import pytest
import trio
import trio.testing
from no_network import NoNetwork

from iii_trio.engine import Engine, build_engine, resolve_settings
from iii_trio.modules import Module, ModuleCatalogue, ModuleRegistration
from iii_trio.modules.module_engine import ModuleEngine
from iii_trio.protocol.errors import EngineCrashed, InvocationError
from iii_trio.serving import StartFailed, StartInterrupted, serve_engine

LIVES: list[str] = []


@attrs.define(eq=False)
class Witness(Module):
    """Notes what becomes of it; its config says what it does."""

    engine: ModuleEngine
    config: dict[str, Any]

    def name(self) -> str:
        return "witness"

    @classmethod
    async def create(cls, engine: ModuleEngine, config: Any) -> Self:
        return cls(engine, config or {})

    async def initialize(self) -> None:
        LIVES.append(f"{self.config['name']} starts")
        await trio.sleep(self.config.get("start", 0))

    async def destroy(self) -> None:
        LIVES.append(f"{self.config['name']} ends")


CATALOGUE = ModuleCatalogue({"witness": ModuleRegistration("witness", Witness)})


@pytest.fixture(autouse=True)
def _forget() -> None:
    LIVES.clear()


def engine_with(*configs: dict[str, Any]) -> Engine:
    entries = [{"name": "witness", "config": config} for config in configs]
    settings = resolve_settings(
        {"workers": [{"name": "iii-worker-manager", "config": {"host": "127.0.0.1"}}, *entries]}, CATALOGUE, {}
    )
    return build_engine(settings, catalogue=CATALOGUE, network=NoNetwork())


@asynccontextmanager
async def served(engine: Engine) -> AsyncIterator[trio.Event]:
    """Serve beside the block; the event comes at the end."""
    ended = trio.Event()

    async def serve(*, task_status: trio.TaskStatus[Engine]) -> None:
        await serve_engine(engine, task_status=task_status)
        ended.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            assert await nursery.start(serve) is engine
            yield ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_lets_what_runs_finish(number: signal.Signals, autojump_clock: trio.testing.MockClock) -> None:
    engine = engine_with({"name": "a"}, {"name": "b"})
    started, answers = trio.Event(), []

    async def slow(_: Any) -> str:
        started.set()
        await trio.sleep(3)
        return "done"

    async def caller() -> None:
        answers.append(await engine.invoke("slow"))

    engine.register("slow", slow)
    async with served(engine) as ended, trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await started.wait()
        before = trio.current_time()
        signal.raise_signal(number)
        await ended.wait()
        assert answers == ["done"]
        assert trio.current_time() - before == pytest.approx(3, abs=0.1)
    assert LIVES == ["a starts", "b starts", "b ends", "a ends"]  # in reverse


async def test_a_second_signal_waits_no_longer(autojump_clock: trio.testing.MockClock) -> None:
    engine = engine_with()
    started, errors = trio.Event(), []

    async def endless(_: Any) -> None:
        started.set()
        await trio.sleep_forever()

    async def caller() -> None:
        try:
            await engine.invoke("endless")
        except InvocationError as error:
            errors.append(error.code)

    engine.register("endless", endless)
    async with served(engine) as ended, trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await started.wait()
        before = trio.current_time()
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep(1)
        assert not ended.is_set()
        signal.raise_signal(signal.SIGTERM)
        await ended.wait()
        assert trio.current_time() - before < 2
    assert errors == ["invocation_stopped"]


async def test_what_does_not_end_is_waited_for_less_than_ten_seconds(autojump_clock: trio.testing.MockClock) -> None:
    engine = engine_with()

    async def endless(_: Any) -> None:
        await trio.sleep_forever()

    engine.register("endless", endless)
    async with served(engine) as ended:
        await engine.kernel.bus.notify("endless")
        before = trio.current_time()
        engine.request_stop()
        await ended.wait()
        assert trio.current_time() - before < 10  # config 23


async def test_a_signal_during_the_start_takes_back_what_had_started(autojump_clock: trio.testing.MockClock) -> None:
    engine = engine_with({"name": "a"}, {"name": "b", "start": 100})
    async with trio.open_nursery() as nursery:

        async def raise_it() -> None:
            await trio.sleep(1)
            signal.raise_signal(signal.SIGTERM)

        nursery.start_soon(raise_it)
        with pytest.raises(StartInterrupted):
            await serve_engine(engine)
    assert trio.current_time() < 90
    assert LIVES == ["a starts", "b starts", "b ends", "a ends"]


async def test_a_signal_from_who_saw_the_port_open_is_an_ordinary_one() -> None:
    class Eager(NoNetwork):
        async def open_listeners(self, host: str, port: int) -> Any:
            signal.raise_signal(signal.SIGTERM)
            return await super().open_listeners(host, port)

    engine = build_engine(resolve_settings({}, CATALOGUE, {}), host="127.0.0.1", network=Eager())
    with trio.fail_after(20):
        await serve_engine(engine)


async def test_two_signals_end_a_start_that_hangs_on_its_ports() -> None:
    class Hanging(NoNetwork):
        async def open_listeners(self, host: str, port: int) -> Any:
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
                await trio.testing.wait_all_tasks_blocked()
            return await trio.sleep_forever()

    engine = build_engine(resolve_settings({}, CATALOGUE, {}), host="127.0.0.1", network=Hanging())
    with trio.fail_after(20), pytest.raises(StartInterrupted):
        await serve_engine(engine)


async def test_a_start_that_fails_says_so_in_the_words_of_its_cause() -> None:
    class Unlucky(NoNetwork):
        async def open_listeners(self, host: str, port: int) -> Any:
            await trio.lowlevel.checkpoint()
            raise OSError("no such interface")

    settings = resolve_settings({}, CATALOGUE, {})
    engine = build_engine(settings, host="127.0.0.1", catalogue=CATALOGUE, network=Unlucky())
    with pytest.raises(StartFailed, match="no such interface") as failure:
        await serve_engine(engine)
    assert failure.value.__cause__ is not None


async def test_an_engine_that_gives_up_says_so() -> None:
    engine = engine_with()
    crashes: list[str] = []

    async def serve(*, task_status: trio.TaskStatus[Engine]) -> None:
        try:
            await serve_engine(engine, task_status=task_status)
        except EngineCrashed as crash:
            crashes.append(str(crash))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            for _ in range(2):  # one restart a minute is allowed
                assert engine.kill("listener")
                await trio.testing.wait_all_tasks_blocked()
    assert crashes == ["the engine gave up: root: more than 1 restarts in 60 s"]


async def test_cancellation_drains_and_passes_on(autojump_clock: trio.testing.MockClock) -> None:
    engine = engine_with({"name": "a"})
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_engine, engine)
        nursery.cancel_scope.cancel()
    assert LIVES == ["a starts", "a ends"]
    assert engine.stop_requested is False


def test_in_another_thread_there_are_no_signals() -> None:
    async def start_and_stop() -> None:
        engine = engine_with({"name": "a"})
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_engine, engine)
            engine.request_stop()

    async def elsewhere() -> None:
        with trio.fail_after(20):
            await trio.to_thread.run_sync(trio.run, start_and_stop)

    trio.run(elsewhere)
    assert LIVES == ["a starts", "a ends"]
