"""Chaos (issue, what it must show, 4): parts are killed under load, and every call still ends exactly once."""

from collections.abc import Iterator
from random import Random

import attrs
import pytest
import trio
import trio.testing
from storm import BROWSERS, CALLERS, CONFIG, HTTP, LOCAL, REFUSALS, SEATS, STOPPED, Footprint, Storm, find

from actors import Killed
from iii_trio import Engine, open_engine
from iii_trio.composition import RestartLimits
from iii_trio.kernel import TrioClock
from iii_trio.protocol.errors import EngineCrashed
from iii_trio.testing import MemoryNetwork
from tests.waiting import eventually

pytestmark = pytest.mark.chaos
KILLS = 200
IN_FLIGHT = 1_000
RAISED = RestartLimits(intensity=KILLS)
HTTP_OUTCOMES = {"http 200", "http 404", "http 500", "http 503", "http cut", "http refused"}


@attrs.define(eq=False)
class Killer:
    """Kills one part after another, each under full load."""

    storm: Storm
    random: Random
    killed: dict[str, int] = attrs.field(factory=lambda: {"connections": 0, "invocations": 0, "modules": 0})

    @property
    def engine(self) -> Engine:
        return self.storm.engine

    async def run(self) -> None:
        while sum(self.killed.values()) < KILLS:
            await self.storm.release(0.05)
            await eventually(self.is_under_load)
            path = await self.choose()
            if self.engine.kill(path, "chaos"):
                self.killed[path.partition("/")[0]] += 1

    def is_under_load(self) -> bool:
        statistics = self.engine.statistics()
        return (
            statistics.kernel.invocations.in_flight >= IN_FLIGHT
            and statistics.listeners[0].workers == SEATS
            and statistics.invocations.running > 0
        )

    async def choose(self) -> str:
        kind = self.random.choices(["connections", "invocations", "modules"], [10, 8, 2])[0]
        if kind == "modules":
            await eventually(lambda: find(self.engine.tree(), HTTP).state == "running")
            return HTTP
        branch = self.engine.composition.connections if kind == "connections" else self.engine.kernel.invocations
        return f"{kind}/{self.random.choice(list(branch)).name}"


async def open_route(engine: Engine) -> None:
    """A trigger of nobody's connection: it must outlive every kill (# wire 62)."""
    trigger = {"trigger_type": "http", "function_id": LOCAL, "config": {"api_path": "/hold/:what"}}
    await engine.invoke("engine::register_trigger", trigger)


async def test_every_call_is_accounted_for_whatever_is_killed() -> None:
    async with open_engine(CONFIG, host="127.0.0.1", port=0, restarts=RAISED) as engine:
        storm = Storm(engine, Random(1))
        engine.kernel.functions.add(storm.local_function())
        await open_route(engine)
        before = Footprint.of(engine)
        assert await storm.request("/nowhere") == "404"
        killer = Killer(storm, Random(2))
        with trio.fail_after(50):
            await weather(storm, killer)

        check_calls(storm, killer)
        check_engine(engine, killer)
        await eventually(lambda: Footprint.of(engine).is_back_at(before))
        assert await storm.request("/nowhere") == "404"


async def weather(storm: Storm, killer: Killer) -> None:
    """The storm, and the calm in which everything that was called for ends."""
    async with trio.open_nursery() as seats:
        for seat in storm.seats:
            seats.start_soon(storm.occupy, seat)
        async with trio.open_nursery() as callers:
            for seat in storm.seats:
                for number in range(CALLERS):
                    callers.start_soon(storm.keep_calling, seat, number)
            for number in range(BROWSERS):
                callers.start_soon(storm.browse, number)
            await killer.run()
            storm.calming = True
            while len(callers.child_tasks):
                await storm.release(1)
                await trio.sleep(0.005)
        await storm.release(1)
        await storm.engine.kernel.ledger.wait_empty()
        seats.cancel_scope.cancel()


def check_calls(storm: Storm, killer: Killer) -> None:
    """Reply, refusal or disconnect, each exactly once."""
    assert storm.unexpected == []
    assert sum(storm.outcomes.values()) == storm.started.total()
    assert set(storm.outcomes) <= {"reply", "disconnect", STOPPED} | REFUSALS | HTTP_OUTCOMES
    assert storm.outcomes["reply"] > IN_FLIGHT
    assert storm.outcomes["disconnect"] >= killer.killed["connections"]
    assert storm.outcomes[STOPPED] >= killer.killed["connections"]
    assert storm.outcomes["http 200"] > 0
    assert storm.outcomes["http cut"] + storm.outcomes["http refused"] > 0
    assert sum(seat.connections for seat in storm.seats) == SEATS + killer.killed["connections"]


def check_engine(engine: Engine, killer: Killer) -> None:
    assert sum(killer.killed.values()) == KILLS
    assert min(killer.killed.values()) >= 10
    statistics = engine.statistics()
    ledger = statistics.kernel.invocations
    assert ledger.in_flight == 0
    assert ledger.opened == ledger.answered + ledger.failed + ledger.abandoned
    assert ledger.abandoned > killer.killed["connections"]  # calls whose caller was cut off, executor alive
    assert statistics.invocations.running == statistics.kernel.resting_runners  # they leave when they are not needed
    assert statistics.listeners[0].closed["killed"] >= killer.killed["connections"]
    http = find(engine.tree(), HTTP)
    assert (http.state, http.incarnation) == ("running", 1 + killer.killed["modules"])


async def kill_until_the_end(killed: list[str]) -> None:
    async with open_engine(CONFIG, host="127.0.0.1", network=MemoryNetwork(), clock=TrioClock()) as engine:
        while True:
            await eventually(lambda: engine.kill(HTTP, "chaos"))
            killed.append(HTTP)
            await trio.testing.wait_all_tasks_blocked()


async def test_the_real_limits_give_up_with_the_cause(autojump_clock: trio.testing.MockClock) -> None:
    """Burst and rate multiply: (3+1)(3+1)(1+1) = 32 crashes end the engine, no fewer."""
    killed: list[str] = []
    with pytest.raises(EngineCrashed, match="root") as crashed:
        await kill_until_the_end(killed)
    assert len(killed) == 32
    causes = list(causes_of(crashed.value))
    assert [str(cause).partition(":")[0] for cause in causes[:2]] == ["root/modules", "root/modules/iii-http"]
    assert isinstance(causes[2], Killed)
    assert "chaos" in str(causes[2])


def causes_of(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__) is not None:
        yield cause
        error = cause


async def test_kills_that_come_slowly_go_on_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    """Three in thirty seconds are let through, as often as they come."""
    async with open_engine(CONFIG, host="127.0.0.1", network=MemoryNetwork(), clock=TrioClock()) as engine:
        for kills in range(1, 61):
            await eventually(lambda: engine.kill(HTTP, "chaos"))
            await trio.sleep(10.1)
            assert find(engine.tree(), HTTP).incarnation == 1 + kills


async def test_requests_are_answered_again_when_all_that_runs_functions_was_killed() -> None:
    async with open_engine(CONFIG, host="127.0.0.1", port=0) as engine:
        storm = Storm(engine, Random(1))
        assert await storm.request("/nowhere") == "404"
        assert engine.kill("invocations", "chaos")
        await eventually(lambda: find(engine.tree(), "invocations").incarnation == 2)
        with trio.fail_after(5):
            assert await storm.request("/nowhere") == "404"
