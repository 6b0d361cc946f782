"""Tasks that run one handler after another: each run is as alone as in a task of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors import DynamicSupervisor, Exit, SupervisorStopped
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
    runners: Runners = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.runners = Runners(self.supervisor, self.run, self.ended)

    async def run(self, row: Invocation, _: Call) -> None:
        self.seen.append(SEEN.get())
        SEEN.set(row.id)
        if row.id in self.gates:
            await self.gates[row.id].wait()
        self.log.append(row.id)

    def ended(self, row: Invocation, _: Exit) -> None:
        self.killed.append(row.id)

    def start(self, name: str, *, held: bool = False) -> Invocation:
        if held:
            self.gates[name] = trio.Event()
        row = Invocation(name, Function("f", OWNER))
        row.child = self.runners.start_soon(row, Call("f", name, Payload.of(None)))
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
        assert row.child is not None
        row.child.cancel("a test")
        await trio.testing.wait_all_tasks_blocked()
        assert (world.log, world.killed, world.tasks, world.runners.resting) == (["a"], ["b"], 0, 0)
        world.start("c")
        await trio.testing.wait_all_tasks_blocked()
        assert world.log == ["a", "c"]


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
            world.start(name)
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
            world.start(str(number))
        await trio.testing.wait_all_tasks_blocked()
        assert (len(world.log), world.tasks, world.runners.resting) == (100, 64, 64)


async def test_without_their_supervisor_nothing_starts() -> None:
    world = World()
    with pytest.raises(SupervisorStopped):
        world.start("a")
