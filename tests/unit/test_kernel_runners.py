"""Tasks that run one handler after another: each run is as alone as in a task of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors import DynamicSupervisor, SupervisorStopped
from iii_trio.kernel import Call, Function, ModuleOwner
from iii_trio.kernel.invocations import Invocation
from iii_trio.kernel.runners import Runners
from iii_trio.protocol import Payload

SEEN: ContextVar[str] = ContextVar("seen", default="nothing")
OWNER = ModuleOwner("test", "test")


@attrs.define(eq=False)
class World:
    """Runners whose handlers wait to be told to end."""

    supervisor: DynamicSupervisor = attrs.field(factory=lambda: DynamicSupervisor("invocations"))
    log: list[str] = attrs.field(factory=list)
    seen: list[str] = attrs.field(factory=list)
    killed: list[str] = attrs.field(factory=list)
    gates: dict[str, trio.Event] = attrs.field(factory=dict)
    before: dict[str, Callable[[Any], object]] = attrs.field(factory=dict)
    """What a handler does before anything else."""

    runners: Runners = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.runners = Runners(self.supervisor, self.run, self.stopped)

    async def run(self, row: Invocation, _: Call) -> None:
        self.seen.append(SEEN.get())
        SEEN.set(row.id)
        if row.id in self.before:
            self.before[row.id](row)
        if row.id in self.gates:
            await self.gates[row.id].wait()
        self.log.append(row.id)

    def stopped(self, row: Invocation) -> None:
        self.killed.append(row.id)

    def start(self, name: str, *, held: bool = False) -> Invocation:
        if held:
            self.gates[name] = trio.Event()
        row = Invocation(name, Function("f", OWNER))
        self.runners.start_soon(row, Call("f", name, Payload.of(None)))
        return row

    @property
    def tasks(self) -> int:
        return self.supervisor.statistics().running


@asynccontextmanager
async def opened(*, swept: bool = False) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        world = World()
        await nursery.start(world.supervisor.run)
        if swept:
            nursery.start_soon(world.runners.sweep)
        yield world
        nursery.cancel_scope.cancel()


async def test_one_task_runs_handler_after_handler(autojump_clock: MockClock) -> None:
    async with opened() as world:
        for name in "abc":
            world.start(name)
            await trio.testing.wait_all_tasks_blocked()
        assert world.log == ["a", "b", "c"]
        assert (world.tasks, world.runners.resting, world.supervisor.statistics().started) == (1, 1, 1)


async def test_handlers_at_once_have_a_task_each(autojump_clock: MockClock) -> None:
    async with opened() as world:
        for name in "abc":
            world.start(name, held=True)
        await trio.testing.wait_all_tasks_blocked()
        assert (world.tasks, world.runners.resting) == (3, 0)
        for name in "cab":
            world.gates[name].set()
            await trio.testing.wait_all_tasks_blocked()
        assert world.log == ["c", "a", "b"]
        assert world.runners.resting == 3


async def test_no_handler_sees_context_variables_of_another(autojump_clock: MockClock) -> None:
    async with opened() as world:
        for name in "abc":
            world.start(name)
            await trio.testing.wait_all_tasks_blocked()
        assert world.seen == ["nothing"] * 3


async def test_a_killed_handler_is_told_and_takes_only_its_task_along(autojump_clock: MockClock) -> None:
    async with opened() as world:
        world.start("a")
        await trio.testing.wait_all_tasks_blocked()
        row = world.start("b", held=True)
        await trio.testing.wait_all_tasks_blocked()
        assert row.child is not None
        row.child.cancel("a test")
        await trio.testing.wait_all_tasks_blocked()
        assert (world.log, world.killed, world.tasks, world.runners.resting) == (["a"], ["b"], 0, 0)
        world.start("c")
        await trio.testing.wait_all_tasks_blocked()
        assert world.log == ["a", "c"]


async def test_a_handler_that_has_itself_killed_takes_none_of_the_next_along(autojump_clock: MockClock) -> None:
    """It may end before the kill reaches it; then the next one in its task would wait for the first time, and die."""
    async with opened() as world:
        world.before["a"] = lambda row: row.child.cancel("a test")
        rows = [world.start(name, held=name != "a") for name in "abc"]
        await trio.testing.wait_all_tasks_blocked()
        for name in "bc":
            world.gates[name].set()
        await trio.testing.wait_all_tasks_blocked()
        assert (sorted(world.log), world.killed) == (["a", "b", "c"], [])
        assert rows[0].child is not rows[1].child


async def test_a_resting_task_that_is_killed_is_given_nothing_more(autojump_clock: MockClock) -> None:
    async with opened() as world:
        row = world.start("a")
        await trio.testing.wait_all_tasks_blocked()
        assert row.child is not None
        row.child.cancel("a test")
        world.start("b")  # before the killed task has had its last turn
        await trio.testing.wait_all_tasks_blocked()
        assert (world.log, world.killed, world.tasks) == (["a", "b"], [], 1)


async def test_tasks_leave_when_they_are_not_needed(autojump_clock: MockClock) -> None:
    async with opened(swept=True) as world:
        for name in ("a", "b"):
            world.start(name, held=True)
        await trio.testing.wait_all_tasks_blocked()
        for name in ("a", "b"):
            world.gates[name].set()
        await trio.testing.wait_all_tasks_blocked()
        assert world.runners.resting == 2
        for number in range(10):
            await trio.sleep(0.4)
            world.start(str(number))
        await trio.testing.wait_all_tasks_blocked()
        assert world.runners.resting == 1  # one was enough all the time
        await trio.sleep(2.5)
        assert (world.tasks, world.runners.resting, world.killed) == (0, 0, [])


async def test_no_more_than_64_rest(autojump_clock: MockClock) -> None:
    async with opened() as world:
        for number in range(100):
            world.start(str(number), held=True)
        await trio.testing.wait_all_tasks_blocked()
        assert world.tasks == 100
        for gate in world.gates.values():
            gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (len(world.log), world.tasks, world.runners.resting) == (100, 64, 64)


async def test_handlers_that_do_not_wait_share_a_task(autojump_clock: MockClock) -> None:
    async with opened() as world:
        for number in range(200):
            world.start(str(number))
        await trio.testing.wait_all_tasks_blocked()
        assert world.log == [str(number) for number in range(200)]
        assert (world.supervisor.statistics().started, set(world.seen)) == (1, {"nothing"})


async def test_one_that_waits_holds_nobody_up(autojump_clock: MockClock) -> None:
    async with opened() as world:
        for name in "abcd":
            world.start(name, held=name in "ac")
        await trio.testing.wait_all_tasks_blocked()
        assert world.log == ["b", "d"]
        row = world.start("e", held=True)
        world.start("f")
        await trio.testing.wait_all_tasks_blocked()
        assert row.child is not None
        row.child.cancel("a test")
        for name in "ca":
            world.gates[name].set()
        await trio.testing.wait_all_tasks_blocked()
        assert (sorted(world.log), world.killed) == (["a", "b", "c", "d", "f"], ["e"])


# --- sources ----------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Tap:
    """A source: what is put into it is started when somebody collects it."""

    world: World
    waiting: int = 0
    is_closed: bool = False
    dones: int = 0
    _names: list[str] = attrs.field(factory=list)
    _filled: trio.Event = attrs.field(factory=trio.Event)

    def put(self, *names: str) -> None:
        self._names += names
        self._filled.set()

    async def wait(self) -> None:
        self.waiting += 1
        try:
            await self._filled.wait()
        finally:
            self.waiting -= 1
        if self.is_closed:
            raise trio.ClosedResourceError
        self._filled = trio.Event()

    def collect(self) -> None:
        names, self._names = self._names, []
        for name in names:
            self.world.start(name)

    def done(self) -> None:
        self.dones += 1

    def close(self) -> None:
        self.is_closed = True
        self._filled.set()


async def test_the_task_that_runs_handlers_waits_for_a_source(autojump_clock: MockClock) -> None:
    async with opened() as world:
        tap = Tap(world)
        with world.runners.fed_by(tap):
            await trio.testing.wait_all_tasks_blocked()
            for number in range(5):
                tap.put(f"{number}a", f"{number}b")
                await trio.testing.wait_all_tasks_blocked()
            assert len(world.log) == 10
            assert (world.supervisor.statistics().started, tap.waiting, world.runners.resting) == (1, 1, 1)
            assert tap.dones == 5
            tap.close()
        await trio.testing.wait_all_tasks_blocked()
        world.start("after")
        await trio.testing.wait_all_tasks_blocked()
        assert (world.log[-1], world.supervisor.statistics().started, tap.waiting) == ("after", 1, 0)


async def test_a_source_is_waited_for_while_handlers_wait(autojump_clock: MockClock) -> None:
    async with opened() as world:
        tap = Tap(world)
        with world.runners.fed_by(tap):
            for name in "abc":
                world.gates[name] = trio.Event()
                tap.put(name, f"{name}2")
                await trio.testing.wait_all_tasks_blocked()
                assert tap.waiting == 1
            assert tap.dones == 3
            assert (world.log, world.tasks) == (["a2", "b2", "c2"], 4)
            for name in "abc":
                world.gates[name].set()
            await trio.testing.wait_all_tasks_blocked()
            assert (sorted(world.log), tap.waiting, world.tasks) == (["a", "a2", "b", "b2", "c", "c2"], 1, 4)
            tap.close()


async def test_every_source_is_waited_for(autojump_clock: MockClock) -> None:
    async with opened() as world:
        taps = [Tap(world) for _ in range(3)]
        with ExitStack() as stack:
            for tap in taps:
                stack.enter_context(world.runners.fed_by(tap))
            await trio.testing.wait_all_tasks_blocked()
            for number, tap in enumerate(taps):
                assert tap.waiting == 1
                tap.put(str(number))
                await trio.testing.wait_all_tasks_blocked()
            assert world.log == ["0", "1", "2"]
            assert [tap.waiting for tap in taps] == [1, 1, 1]
            for tap in taps:
                tap.close()


@pytest.mark.parametrize("when", ["waiting", "working"])
async def test_a_killed_task_loses_no_source(when: str, autojump_clock: MockClock) -> None:
    async with opened() as world:
        tap = Tap(world)
        with world.runners.fed_by(tap):
            await trio.testing.wait_all_tasks_blocked()
            if when == "working":
                world.gates["a"] = trio.Event()
                tap.put("a")
                await trio.testing.wait_all_tasks_blocked()
            for child in world.supervisor:
                child.cancel("a test")
            await trio.testing.wait_all_tasks_blocked()
            assert tap.waiting == 1
            tap.put("b")
            await trio.testing.wait_all_tasks_blocked()
            assert (world.log, world.killed) == (["b"], ["a"] if when == "working" else [])
            tap.close()


async def test_without_their_supervisor_nothing_starts() -> None:
    world = World()
    with pytest.raises(SupervisorStopped):
        world.start("a")
