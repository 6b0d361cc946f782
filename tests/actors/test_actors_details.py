"""What the guarantees leave out: edges of the API, one by one."""

import ast
import gc
import sys
import weakref
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

import actors
from actors import (
    Actor,
    ActorStopped,
    Backoff,
    Child,
    ChildSpec,
    Crashed,
    DynamicSupervisor,
    Finished,
    Killed,
    StartError,
    Stopped,
    Supervisor,
    SupervisorStopped,
    open_supervisor,
    run_actor,
)

SOURCES = sorted(Path(actors.__file__).parent.glob("*.py"))


class Echo(Actor[Any]):
    async def handle(self, message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        if isinstance(message, float):
            await trio.sleep(message)
        return message


async def forever(*, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
    task_status.started()
    await trio.sleep_forever()


def test_the_package_stands_alone_and_stays_small() -> None:
    imported = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names == {"trio", "attrs"}
    lines = [line for source in SOURCES if source.name != "testing.py" for line in source.read_text().splitlines()]
    assert sum(bool(line.strip()) for line in lines) < 1000


def test_all_is_what_is_public() -> None:
    public = {name for name in vars(actors) if not name.startswith("_")}
    modules = {source.stem for source in SOURCES}
    assert set(actors.__all__) == public - modules


async def test_an_actor_without_handle_crashes() -> None:
    async with open_supervisor([ChildSpec.actor("a", Actor)]) as supervisor:
        with pytest.raises(ActorStopped) as stopped:
            await supervisor.child("a").call("x")
        assert isinstance(stopped.value.__cause__, NotImplementedError)


async def test_an_actor_in_a_plain_nursery() -> None:
    async with trio.open_nursery() as nursery:
        ref = await nursery.start(run_actor, Echo(), name="echo")
        assert ref.path == "echo"
        assert repr(ref) == "<ActorRef echo: running>"
        assert await ref.call(1) == 1
        ref.request_stop()
        await trio.sleep(1)
        ref.request_stop()
        assert await ref.wait_stopped() == Stopped()
        assert repr(ref) == "<ActorRef echo: Stopped()>"
        cancelled = await nursery.start(run_actor, Echo(), name="cancelled")
        nursery.cancel_scope.cancel(reason="enough")
    assert isinstance(cancelled.exit, Crashed)
    assert isinstance(cancelled.exit.error, Killed)
    assert cancelled.exit.error.reason == "enough"


async def test_an_actor_may_use_its_own_reference_from_the_start() -> None:
    class Eager(Echo):
        async def started(self) -> None:
            await self.ref.send("first")

    async with open_supervisor([ChildSpec.actor("a", Eager)]) as supervisor:
        ref = supervisor.child("a")
        assert await ref.call("second") == "second"
        assert ref.statistics().handled == 2


async def test_a_group_of_one_is_its_member_and_any_other_stays() -> None:
    async def fails(*errors: Exception) -> None:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("outer", [ExceptionGroup("inner", errors)])

    error = LookupError()
    async with trio.open_nursery() as nursery:
        dynamic = await nursery.start(DynamicSupervisor("x").run)
        single = dynamic.start_soon(fails, error, name="single")
        double = dynamic.start_soon(fails, error, error, name="double")
        assert await single.wait_stopped() == Crashed(error)
        assert (await double.wait_stopped()).error.exceptions == (error, error)
        dynamic.request_stop()


async def test_a_child_tells_its_state_and_can_be_waited_for_at_any_time() -> None:
    async with trio.open_nursery() as nursery:
        dynamic = await nursery.start(DynamicSupervisor("x").run)
        assert (dynamic.name, dynamic.path) == ("x", "x")
        child = dynamic.start_soon(trio.sleep, 1, name="a/b")
        assert (child.name, child.path, child.state, child.exit) == ("a/b", "x/a/b", "running", None)
        assert dynamic.tree().children[0].path == "x/a/b"
        assert await child.wait_stopped() == Finished()
        assert await child.wait_stopped() == Finished()
        assert child.state == "stopped"

        async def stubborn() -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)

        last = dynamic.start_soon(stubborn, name="last")
        await wait_all_tasks_blocked()
        dynamic.request_stop()
        await wait_all_tasks_blocked()
        assert (last.state, dynamic.tree().state) == ("stopping", "stopping")


async def test_a_deadline_and_a_kill_are_crashes_and_a_stop_is_none() -> None:
    async def holds_out() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        dynamic = await nursery.start(DynamicSupervisor("x").run)
        late, killed, unstarted = (dynamic.start_soon(trio.sleep_forever, name=name) for name in "abc")
        stopped = dynamic.start_soon(holds_out, name="d")
        late.scope.deadline = trio.current_time() + 2
        unstarted.cancel("before its first step")
        await trio.sleep(1)
        killed.cancel("why not")
        assert late.exit is None
        await trio.sleep(2)
        dynamic.request_stop()
        await wait_all_tasks_blocked()
        stopped.cancel("too late to be a kill")
        await stopped.wait_stopped()
    crashes: list[Any] = [late.exit, killed.exit, unstarted.exit]
    assert isinstance(crashes[0].error, trio.TooSlowError)
    assert [crash.error.reason for crash in crashes[1:]] == ["why not", "before its first step"]
    assert stopped.exit == Stopped()
    assert (dynamic.statistics().started, dynamic.statistics().crashed) == (4, 3)


async def test_a_dynamic_start_that_fails() -> None:
    async def fails(*, task_status: trio.TaskStatus[Any]) -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError

    async def forgets(*, task_status: trio.TaskStatus[Any]) -> None:
        await trio.lowlevel.checkpoint()

    async def twice(*, task_status: trio.TaskStatus[Any]) -> None:
        await trio.lowlevel.checkpoint()
        task_status.started()
        task_status.started()

    async def slow(*, task_status: trio.TaskStatus[Any]) -> None:
        assert dynamic.tree().children[-1].state == "starting"
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        dynamic = await nursery.start(DynamicSupervisor("x").run)
        with pytest.raises(StartError, match="x/bad did not start: LookupError") as failed:
            await dynamic.start(fails, name="bad")
        assert isinstance(failed.value.cause, LookupError)
        with pytest.raises(StartError, match="x/sleeper ended without calling"):
            await dynamic.start(forgets, name="sleeper")
        child, _ = await dynamic.start(twice, name="twice")
        assert "twice" in str((await child.wait_stopped()).error)

        async def start_late() -> None:
            with pytest.raises(SupervisorStopped, match="x is not running"):
                await dynamic.start(slow, name="slow")

        nursery.start_soon(start_late)
        await wait_all_tasks_blocked()
        dynamic.request_stop()


def test_two_children_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two children are named 'a'"):
        Supervisor("root", [ChildSpec("a", forever), ChildSpec("b", forever), ChildSpec("a", forever)])


async def test_asking_for_a_child() -> None:
    supervisor = Supervisor("root", [ChildSpec("a", forever)])
    with pytest.raises(KeyError):
        supervisor.child("b")
    with pytest.raises(ActorStopped):
        supervisor.child("a")
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        assert supervisor.child("a") is None
        supervisor.request_stop()
    with pytest.raises(ActorStopped):
        supervisor.kill_child("a")


def _echoes(count: int) -> list[ChildSpec]:
    return [ChildSpec.actor(str(number), Echo, restart="temporary") for number in range(count)]


@pytest.mark.parametrize("make", [lambda: Supervisor("s", [ChildSpec("a", forever)]), lambda: DynamicSupervisor("s")])
async def test_a_supervisor_runs_once_at_a_time_and_again_afterwards(make: Any) -> None:
    supervisor = make()
    supervisor.request_stop()  # not running: nothing happens
    for run in (1, 2):
        async with trio.open_nursery() as nursery:
            assert await nursery.start(supervisor.run) is supervisor
            with pytest.raises(RuntimeError, match="s is running already"):
                await supervisor.run()
            assert (supervisor.tree().state, supervisor.tree().incarnation) == ("running", run)
            supervisor.request_stop()
            supervisor.request_stop()
        assert supervisor.tree().state == "stopped"


async def test_a_supervisor_without_children_runs_until_asked() -> None:
    async with open_supervisor([]) as supervisor:
        await trio.sleep(100)
        assert supervisor.tree().state == "running"


async def test_a_stop_during_boot_ends_what_is_up() -> None:
    late: list[str] = []

    async def becomes_ready_too_late(*, task_status: trio.TaskStatus[Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            task_status.started()
            late.append(supervisor.tree().children[1].state)

    specs = [ChildSpec("a", forever), ChildSpec("b", becomes_ready_too_late), ChildSpec("c", forever)]
    supervisor = Supervisor("root", specs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await wait_all_tasks_blocked()
        supervisor.request_stop()
    assert late == ["stopping"]
    assert [(node.state, node.incarnation) for node in supervisor.tree().children] == [
        ("stopped", 1),
        ("stopped", 1),
        ("stopped", 0),
    ]


async def test_a_stop_as_the_last_child_becomes_ready_is_not_ready() -> None:
    async def start(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        supervisor.request_stop()
        await trio.sleep_forever()

    supervisor = Supervisor("root", [ChildSpec("a", start)])
    child = Child("root", "root", lambda _: None, settled=trio.Event())
    await child.run(supervisor.run)
    assert not child.ready
    assert supervisor.tree().children[0].last_exit == Stopped()


async def test_the_budget_of_stopped_runs_from_the_first_request() -> None:
    class Hangs(Echo):
        async def stopped(self) -> None:
            await trio.sleep_forever()

    spec = ChildSpec.actor("a", Hangs, shutdown=7)
    async with open_supervisor([spec]) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.child("a").call, 3.0)  # the message at hand uses up three of them
        await wait_all_tasks_blocked()
        supervisor.request_stop()
        await trio.sleep(1)
        ref = supervisor.child("a")
        ref.request_stop()
        assert isinstance((await ref.wait_stopped()).error, trio.TooSlowError)
        assert trio.current_time() == 7


async def test_a_reply_once_given_is_not_taken_back_by_a_crash() -> None:
    async with open_supervisor(_echoes(20)) as supervisor:
        replies: list[Any] = []

        async def caller(ref: Any) -> None:
            replies.append(await ref.call("reply"))

        async with trio.open_nursery() as nursery:
            for name in map(str, range(20)):
                ref = supervisor.child(name)
                await ref.send(1.0)  # keeps it busy while the next two queue up
                nursery.start_soon(caller, ref)
                await wait_all_tasks_blocked()
                await ref.send(LookupError())
    assert replies == ["reply"] * 20


async def test_a_call_given_up_leaves_nothing_behind() -> None:
    class Message:
        pass

    class Narrow(Echo):
        mailbox_size = 1

    async with open_supervisor([ChildSpec.actor("a", Narrow)]) as supervisor:
        ref = supervisor.child("a")
        await ref.send(9.0)
        await wait_all_tasks_blocked()
        await ref.send("fills the mailbox")
        message = Message()
        trace = weakref.ref(message)
        with trio.move_on_after(1):
            await ref.call(message)
        del message
        await wait_all_tasks_blocked()  # Trio itself forgets the cancellation
        gc.collect()
        assert trace() is None


async def test_a_supervisor_below_takes_the_time_its_children_need(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Echo):
        async def stopped(self) -> None:
            await trio.sleep(4)

    inner = Supervisor("inner", [ChildSpec.actor("a", Slow), ChildSpec.actor("b", Slow)])
    async with open_supervisor([ChildSpec.supervisor("inner", lambda: inner)]):
        pass
    assert trio.current_time() == 8
    assert caplog.records == []


async def test_a_stop_during_a_restart_keeps_to_the_first_budget() -> None:
    class Askable:
        def request_stop(self) -> None:
            """And does not care."""

    async def slow(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started(Askable())
        await trio.sleep_forever()

    specs = [ChildSpec("a", forever), ChildSpec("slow", slow, shutdown=5)]
    async with open_supervisor(specs, strategy="one_for_all") as supervisor:
        supervisor.kill_child("a")  # "slow" is being stopped from now on
        await trio.sleep(3)
        assert [node.state for node in supervisor.tree().children] == ["stopped", "stopping"]
    assert trio.current_time() == 5


async def test_a_child_over_its_budget_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        with trio.CancelScope(shield=True):
            await trio.sleep(9)

    async with open_supervisor([ChildSpec("a", stubborn, shutdown=2)]):
        pass
    assert trio.current_time() == 9
    assert [record.message for record in caplog.records] == [
        "root/a did not stop within 2 s: cancelled, and waited for"
    ]


async def test_backoff_uses_the_random_source_of_the_tree() -> None:
    restarts: dict[str, list[float]] = {"root": [], "root/inner": []}
    backoff = Backoff(first=10.0)
    inner = Supervisor("inner", [ChildSpec("a", forever, backoff=backoff)])
    specs = [ChildSpec("a", forever, backoff=backoff), ChildSpec.supervisor("inner", lambda: inner)]
    async with open_supervisor(specs, random=Random(7)) as supervisor:
        supervisor.events.listen(
            lambda event: (
                restarts[event.path.rpartition("/")[0]].append(event.time) if event.kind == "restarted" else None
            )
        )
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        inner.kill_child("a")
        await trio.sleep(20)
    dice = Random(7)
    assert restarts == {"root": [backoff.delay(0, dice)], "root/inner": [backoff.delay(0, dice)]}
    assert restarts["root"] != restarts["root/inner"]


async def test_a_postponed_restart_is_taken_along_by_an_earlier_sibling() -> None:
    starts: list[tuple[str, float]] = []

    def child(name: str, **options: Any) -> ChildSpec:
        async def start(*, task_status: trio.TaskStatus[Any]) -> None:
            starts.append((name, trio.current_time()))
            task_status.started()
            await trio.sleep_forever()

        return ChildSpec(name, start, **options)

    for pause in (0.0, 15.0):
        starts.clear()
        specs = [child("a", backoff=Backoff(first=pause)), child("b", backoff=Backoff(first=10.0)), child("c")]
        async with open_supervisor(specs, strategy="rest_for_one") as supervisor:
            supervisor.kill_child("b")
            await trio.sleep(1)
            supervisor.kill_child("a")
            again = trio.current_time() + pause
            await trio.sleep(30)
        assert starts[3:] == [("a", again), ("b", again), ("c", again)]


async def test_a_sibling_that_crashed_too_is_restarted_once() -> None:
    specs = [ChildSpec("a", forever), ChildSpec("b", forever)]
    async with open_supervisor(specs, strategy="one_for_all") as supervisor:
        supervisor.kill_child("a")
        supervisor.kill_child("b")
        await wait_all_tasks_blocked()
        tree = supervisor.tree()
        assert [node.incarnation for node in tree.children] == [2, 2]
        assert tree.restarts_in_window == 1


async def test_a_supervisor_reported_by_a_task_of_our_own_is_part_of_the_tree() -> None:
    inner = Supervisor("module", [ChildSpec("a", forever)])

    async def module(*, task_status: trio.TaskStatus[Any]) -> None:
        await inner.run(task_status=task_status)

    async with open_supervisor([ChildSpec("module", module)]) as supervisor:
        assert supervisor.child("module") is inner
        node = supervisor.tree().children[0]
        assert (node.kind, [child.path for child in node.children]) == ("supervisor", ["root/module/a"])
