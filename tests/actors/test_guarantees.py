"""One test for each guarantee of docs/guarantees.md, by its name."""

# ruff: noqa: PT012  an `async with` raises at its end: that is what is tested

import ast
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    Child,
    ChildSpec,
    Crashed,
    DynamicSupervisor,
    Event,
    EventStream,
    Exit,
    Finished,
    Killed,
    MailboxFull,
    MaxChildrenReached,
    Node,
    RestartLimitReached,
    StartError,
    Stopped,
    Supervisor,
    SupervisorStopped,
    open_supervisor,
    run_actor,
)


def test_each_guarantee_has_its_test() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text()
    promised = {
        "test_" + re.sub(r"\W+", "_", name.lower()).strip("_") for name in re.findall("^### (.*)$", text, re.MULTILINE)
    }
    tree = ast.parse(Path(__file__).read_text())
    shown = {
        node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    assert promised == shown


class Boom(Exception):
    pass


class No(Exception):
    pass


@attrs.frozen
class Work:
    """Takes `seconds`, then answers `key`, or raises."""

    key: Any = None
    seconds: float = 0.0
    error: Exception | None = None


class Worker(Actor[Work]):
    refusals = (No,)

    def __init__(self, log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log
        self.done: list[Any] = []

    async def handle(self, message: Work) -> list[Any]:
        self.log.append(("begin", message.key))
        await trio.sleep(message.seconds)
        self.log.append(("end", message.key))
        if message.error is not None:
            raise message.error
        self.done.append(message.key)
        return list(self.done)

    async def stopped(self) -> None:
        self.log.append("stopped")


def worker(log: list[Any] | None = None, name: str = "w", **options: Any) -> ChildSpec:
    return ChildSpec.actor(name, lambda: Worker(log), **options)


def task(log: list[Any], name: str, *, boot: float = 0.0, stop: float | None = None, **options: Any) -> ChildSpec:
    """A child ready after `boot` seconds. With `stop`, it can be asked to stop, and takes that long."""

    async def start(*, task_status: trio.TaskStatus[Any]) -> None:
        log.append(f"{name} begins")
        await trio.sleep(boot)
        asked = Asked()
        task_status.started(asked if stop is not None else None)
        log.append(f"{name} ready")
        try:
            await asked.event.wait()
            log.append(f"{name} asked")
            await trio.sleep(stop or 0.0)
        finally:
            log.append(f"{name} ends")

    return ChildSpec(name, start, **options)


@attrs.define
class Asked:
    event: trio.Event = attrs.field(factory=trio.Event)

    def request_stop(self) -> None:
        self.event.set()


async def crash(supervisor: Supervisor, name: str) -> None:
    supervisor.kill_child(name, "test")
    await wait_all_tasks_blocked()


def incarnations(supervisor: Supervisor) -> list[int]:
    return [node.incarnation for node in supervisor.tree().children]


async def test_one_message_at_a_time() -> None:
    log: list[Any] = []
    async with open_supervisor([worker(log)]) as supervisor:
        ref = supervisor.child("w")
        async with trio.open_nursery() as nursery:
            for key in range(5):
                nursery.start_soon(ref.call, Work(key, seconds=1))
                nursery.start_soon(ref.send, Work(key, seconds=1))
        await ref.call(Work("last"))
    assert len(log) == 23
    assert all(log[n][0] == "begin" and log[n + 1] == ("end", log[n][1]) for n in range(0, 22, 2))


async def test_fifo_per_sender() -> None:
    log: list[Any] = []

    class Narrow(Worker):
        mailbox_size = 2

    async def sender(ref: ActorRef[Work], who: str) -> None:
        for n in range(0, 30, 3):
            await ref.send(Work((who, n)))
            with suppress(MailboxFull):
                ref.send_nowait(Work((who, n + 1)))
            await ref.call(Work((who, n + 2)))

    specs = [ChildSpec.actor("w", lambda: Narrow(log))]
    async with open_supervisor(specs) as supervisor, trio.open_nursery() as nursery:
        for who in "abc":
            nursery.start_soon(sender, supervisor.child("w"), who)
    for who in "abc":
        handled = [key[1] for step, key in filter(lambda entry: entry[0] == "begin", log) if key[0] == who]
        assert handled == sorted(handled)
        assert len(handled) >= 20


async def test_every_call_ends_in_a_reply_a_refusal_or_actorstopped() -> None:
    answers: dict[str, object] = {}

    async def caller(ref: ActorRef[Work], name: str, message: Work) -> None:
        try:
            answers[name] = await ref.call(message)
        except (No, ActorStopped) as error:
            answers[name] = error

    class Narrow(Worker):
        mailbox_size = 3

    async with open_supervisor([ChildSpec.actor("w", Narrow)]) as supervisor:
        ref = supervisor.child("w")
        async with trio.open_nursery() as nursery:
            for name, message in {
                "reply": Work(1),
                "refused": Work(error=No("no")),
                "crashed": Work(error=Boom("boom"), seconds=1),
                "queued": Work(2),
                "queued too": Work(3),
                "waiting for room": Work(4),
                "waiting too": Work(5),
            }.items():
                nursery.start_soon(caller, ref, name, message)
                await wait_all_tasks_blocked()
            assert ref.statistics().waiting_senders == 1
        await caller(ref, "too late", Work(6))
        with pytest.raises(ActorStopped, match=r"^root/w has stopped$") as stopped:
            await ref.send(Work(7))
        assert isinstance(stopped.value.__cause__, Boom)
        with pytest.raises(ActorStopped):
            ref.send_nowait(Work(8))
    assert answers["reply"] == [1]
    assert str(answers["refused"]) == "no"
    unanswered = ["crashed", "queued", "queued too", "waiting for room", "waiting too", "too late"]
    assert all(isinstance(answers[name], ActorStopped) for name in unanswered)
    assert {type(answers[name].__cause__) for name in unanswered} == {Boom}  # type: ignore[attr-defined]
    assert await ref.wait_stopped() == ref.exit


async def test_a_caller_s_timeout_never_harms_the_actor() -> None:
    log: list[Any] = []

    class Narrow(Worker):
        mailbox_size = 1

    async with open_supervisor([ChildSpec.actor("w", lambda: Narrow(log))]) as supervisor:
        ref = supervisor.child("w")
        gone: list[str] = []

        async def impatient(key: str) -> None:
            with trio.move_on_after(1):
                await ref.call(Work(key, seconds=5))
            gone.append(key)

        async with trio.open_nursery() as nursery:
            for key in ("handled", "queued", "not sent"):
                nursery.start_soon(impatient, key)
                await wait_all_tasks_blocked()
        assert sorted(gone) == ["handled", "not sent", "queued"]
        assert trio.current_time() < 2
        assert await ref.call(Work("next")) == ["handled", "queued", "next"]
        with trio.CancelScope() as scope:
            scope.cancel(reason="before it began")
            await ref.call(Work("never sent"))
        assert await ref.call(Work("last")) == ["handled", "queued", "next", "last"]
        assert incarnations(supervisor) == [1]


async def test_a_refusal_is_not_a_crash() -> None:
    async with open_supervisor([worker()]) as supervisor:
        ref = supervisor.child("w")
        await ref.call(Work("kept"))
        with pytest.raises(No, match="not now"):
            await ref.call(Work(error=No("not now")))
        await ref.send(Work(error=No("nobody hears this")))
        assert await ref.call(Work("next")) == ["kept", "next"]
        assert ref.statistics().handled == 4
        assert incarnations(supervisor) == [1]


async def test_a_crash_loses_only_that_incarnation_s_state() -> None:
    async with open_supervisor([worker(name="a"), worker(name="b")]) as supervisor:
        first, sibling = supervisor.child("a"), supervisor.child("b")
        await first.call(Work("lost"))
        await sibling.call(Work("kept"))
        await first.send(Work(error=Boom()))
        await first.send(Work("queued and lost"))
        assert isinstance(await first.wait_stopped(), Crashed)
        await wait_all_tasks_blocked()
        second = supervisor.child("a")
        assert second is not first
        assert await second.call(Work("new")) == ["new"]
        assert supervisor.child("b") is sibling
        assert await sibling.call(Work("more")) == ["kept", "more"]
        with pytest.raises(ActorStopped):
            await first.call(Work())


async def test_the_mailbox_is_bounded() -> None:
    class Narrow(Worker):
        mailbox_size = 2

    async with open_supervisor([ChildSpec.actor("w", Narrow)]) as supervisor:
        ref = supervisor.child("w")
        await ref.send(Work(seconds=10))
        await wait_all_tasks_blocked()
        ref.send_nowait(Work())
        ref.send_nowait(Work())
        with pytest.raises(MailboxFull, match="the mailbox of root/w holds its 2 messages already"):
            ref.send_nowait(Work())
        for wait in (ref.send, ref.call):
            with trio.move_on_after(4) as waited:
                await wait(Work())
            assert waited.cancelled_caught
        assert (ref.statistics().queued, ref.statistics().peak_queued) == (2, 2)
        await ref.send(Work())
        assert trio.current_time() == pytest.approx(10)


async def test_a_stop_finishes_the_message_at_hand_and_drops_the_rest() -> None:
    log: list[Any] = []
    answers: list[object] = []

    async def caller(ref: ActorRef[Work], key: str) -> None:
        try:
            reply = await ref.call(Work(key, seconds=3))
            answers.append((trio.current_time(), reply))
        except ActorStopped:
            answers.append((trio.current_time(), key))

    async with open_supervisor([worker(log, restart="temporary")]) as supervisor:
        ref = supervisor.child("w")
        async with trio.open_nursery() as nursery:
            for key in ("at hand", "queued"):
                nursery.start_soon(caller, ref, key)
                await wait_all_tasks_blocked()
            await trio.sleep(1)
            ref.request_stop()
            with pytest.raises(ActorStopped):
                ref.send_nowait(Work())
        assert await ref.wait_stopped() == Stopped()
    assert answers == [(1, "queued"), (3, ["at hand"])]
    assert log == [("begin", "at hand"), ("end", "at hand"), "stopped"]


async def test_what_started_is_released() -> None:
    released: list[str] = []

    class Owner(Actor[str]):
        def __init__(self, name: str) -> None:
            self.name = name

        async def started(self) -> None:
            if self.name == "fails":
                raise Boom

        async def handle(self, message: str) -> None:
            if message == "crash":
                raise Boom
            await trio.sleep_forever()

        async def stopped(self) -> None:
            await trio.sleep(2)  # shielded, or this would not return
            released.append(f"{self.name} {trio.current_time():g}")
            if self.name == "hangs":
                await trio.sleep_forever()

    async def run(name: str, message: str | None, exits: list[object]) -> None:
        child = Child(name, name, lambda child: exits.append(child.exit), settled=trio.Event())

        async def start(*, task_status: trio.TaskStatus[Any]) -> Exit:
            return await run_actor(Owner(name), shutdown=5, task_status=task_status)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.run, start)
            assert child.settled is not None
            await child.settled.wait()
            if not child.ready:
                assert name == "fails"
            elif message == "cancel":
                await child.value.send("sleep")
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel(reason="test")
            elif message is not None:
                await child.value.send(message)
            else:
                child.value.request_stop()

    exits: list[Any] = []
    for name, message in [("stops", None), ("crashes", "crash"), ("cancelled", "cancel"), ("fails", None)]:
        await run(name, message, exits)
    assert released == ["stops 2", "crashes 4", "cancelled 6"]
    await run("hangs", None, exits)
    assert trio.current_time() == 11
    assert isinstance(exits.pop().error, trio.TooSlowError)
    assert [type(exit_) for exit_ in exits] == [Stopped, Crashed, Stopped, Crashed]


async def test_children_start_in_order_each_ready_before_the_next() -> None:
    log: list[Any] = []
    supervisor = Supervisor("root", [task(log, "a", boot=3), task(log, "b", boot=2), task(log, "c")])
    async with trio.open_nursery() as nursery:
        assert await nursery.start(supervisor.run) is supervisor
        assert trio.current_time() == 5
        assert log == ["a begins", "a ready", "b begins", "b ready", "c begins", "c ready"]
        supervisor.request_stop()


async def test_a_failure_at_boot_stops_what_is_up_and_names_the_child() -> None:
    log: list[Any] = []

    async def fails(*, task_status: trio.TaskStatus[Any]) -> None:
        await trio.lowlevel.checkpoint()
        raise Boom("no port")

    async def forgets(*, task_status: trio.TaskStatus[Any]) -> None:
        await trio.sleep(1)

    for start, cause in [(fails, Boom), (forgets, RuntimeError)]:
        log.clear()
        inner = Supervisor("ignored", [task(log, "c"), ChildSpec("bad", start, restart="temporary"), task(log, "d")])
        specs = [task(log, "a"), task(log, "b"), ChildSpec.supervisor("inner", partial(_the, inner))]
        with pytest.raises(StartError, match=r"^root/inner/bad did not start: ") as failed:
            await Supervisor("root", specs).run()
        assert (failed.value.path, type(failed.value.cause), failed.value.__cause__) == (
            "root/inner/bad",
            cause,
            failed.value.cause,
        )
        assert log[-3:] == ["c ends", "b ends", "a ends"]
        assert "d begins" not in log


async def test_children_stop_in_reverse_order_each_within_its_budget() -> None:
    log: list[Any] = []
    specs = [
        task(log, "quick", stop=1, shutdown=4),
        task(log, "slow", stop=9, shutdown=4),
        task(log, "deaf", shutdown=4),
    ]
    async with open_supervisor(specs) as supervisor:
        log.clear()
        began = trio.current_time()
        supervisor.request_stop()
    assert log == ["deaf ends", "slow asked", "slow ends", "quick asked", "quick ends"]
    assert trio.current_time() - began == 0 + 4 + 1
    assert [node.last_exit for node in supervisor.tree().children] == [Stopped()] * 3


async def test_cancellation_is_an_orderly_stop() -> None:
    log: list[Any] = []
    inner = Supervisor("x", [task(log, "b", stop=1), task(log, "c", stop=1)])
    supervisor = Supervisor("root", [task(log, "a", stop=1), ChildSpec.supervisor("inner", lambda: inner)])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            log.clear()
            scope.cancel(reason="test")
    assert scope.cancelled_caught
    assert log == [f"{name} {step}" for name in "cba" for step in ("asked", "ends")]
    assert trio.current_time() == 3


async def test_permanent_transient_and_temporary() -> None:
    def ends(how: str) -> Any:
        async def start(*, task_status: trio.TaskStatus[Any]) -> None:
            task_status.started()
            if runs.setdefault((kind, how), 0):
                await trio.sleep_forever()
            runs[kind, how] += 1
            await trio.sleep(1)
            if how == "crashes":
                raise Boom

        return start

    runs: dict[tuple[str, str], int] = {}
    again = {}
    for kind in ("permanent", "transient", "temporary"):
        for how in ("finishes", "crashes"):
            async with open_supervisor([ChildSpec("c", ends(how), restart=kind)]) as supervisor:
                await trio.sleep(2)
                again[kind, how] = incarnations(supervisor) == [2]
        async with open_supervisor([worker(restart=kind)]) as supervisor:
            supervisor.child("w").request_stop()
            await wait_all_tasks_blocked()
            again[kind, "is stopped"] = incarnations(supervisor) == [2]
    assert {case for case, restarted in again.items() if restarted} == {
        ("permanent", "finishes"),
        ("permanent", "crashes"),
        ("permanent", "is stopped"),
        ("transient", "crashes"),
    }
    assert len(again) == 9


async def test_one_for_one_restarts_the_child_alone() -> None:
    log: list[Any] = []
    async with open_supervisor([task(log, name) for name in "abc"]) as supervisor:
        log.clear()
        await crash(supervisor, "b")
        assert log == ["b ends", "b begins", "b ready"]
        assert incarnations(supervisor) == [1, 2, 1]


async def test_one_for_all_restarts_everybody() -> None:
    log: list[Any] = []
    specs = [*(task(log, name) for name in "abc"), task(log, "t", restart="temporary")]
    async with open_supervisor(specs, strategy="one_for_all") as supervisor:
        log.clear()
        await crash(supervisor, "b")
        assert log[:4] == ["b ends", "t ends", "c ends", "a ends"]
        assert log[4:] == [f"{name} {step}" for name in "abc" for step in ("begins", "ready")]
        assert incarnations(supervisor) == [2, 2, 2, 1]
        with pytest.raises(ActorStopped, match="root/t has stopped"):
            supervisor.child("t")


async def test_rest_for_one_restarts_the_child_and_those_after_it() -> None:
    log: list[Any] = []
    specs = [*(task(log, name) for name in "abcd"), task(log, "t", restart="temporary")]
    async with open_supervisor(specs, strategy="rest_for_one") as supervisor:
        log.clear()
        await crash(supervisor, "b")
        assert log[:4] == ["b ends", "t ends", "d ends", "c ends"]
        assert log[4:] == [f"{name} {step}" for name in "bcd" for step in ("begins", "ready")]
        assert incarnations(supervisor) == [1, 2, 2, 2, 1]


async def test_restarts_are_limited() -> None:
    events: list[Event] = []
    stream = EventStream()
    stream.listen(events.append)
    log: list[Any] = []
    with pytest.raises(RestartLimitReached, match="root: more than 2 restarts in 10 s") as reached:
        async with open_supervisor(
            [task(log, "a"), task(log, "b")], intensity=2, period=10.0, events=stream
        ) as supervisor:
            for _ in range(5):  # two at once, for ever
                await crash(supervisor, "a")
                await crash(supervisor, "b")
                assert supervisor.tree().restarts_in_window == 2
                await trio.sleep(10.1)
            assert supervisor.tree().restarts_in_window == 0
            assert incarnations(supervisor) == [6, 6]
            await crash(supervisor, "a")
            await trio.sleep(5)
            await crash(supervisor, "a")
            await trio.sleep(5)  # the first of them still counts
            events.clear()
            supervisor.kill_child("b", "the last straw")
            await trio.sleep_forever()
    assert isinstance(reached.value.__cause__, Killed)
    assert str(reached.value.__cause__) == "the last straw"
    assert [(event.kind, event.path) for event in events] == [
        ("crashed", "root/b"),
        ("escalated", "root"),
        ("stopped", "root/a"),
    ]
    assert log[-1] == "a ends"


async def test_a_failed_restart_counts_as_a_restart() -> None:
    starts: list[float] = []

    async def start(*, task_status: trio.TaskStatus[Any]) -> None:
        starts.append(trio.current_time())
        if len(starts) > 1:
            raise Boom(f"attempt {len(starts)}")
        task_status.started()
        await trio.sleep_forever()

    with pytest.raises(RestartLimitReached) as reached:
        async with open_supervisor([ChildSpec("c", start), worker(name="w")], intensity=5) as supervisor:
            supervisor.kill_child("c")
            supervisor.kill_child("w")  # is not forgotten over the failures of "c"
            await trio.sleep_forever()
    assert str(reached.value.__cause__) == f"attempt {len(starts)}"
    assert len(starts) == 5  # and one restart of "w"
    assert incarnations(supervisor) == [5, 2]


async def test_backoff_holds_up_nobody_else() -> None:
    backoff = Backoff(first=1.0, factor=2.0, maximum=10.0, jitter=0.3)
    for attempt, pause in enumerate([1, 2, 4, 8, 10, 10]):
        spread = {backoff.delay(attempt, Random(seed)) for seed in range(50)}
        assert pause * 0.7 <= min(spread) < max(spread) <= min(10.0, pause * 1.3)
        assert len(spread) > 5
        assert backoff.delay(attempt, None) == pause
    log: list[Any] = []
    specs = [task(log, "slow", backoff=backoff), task(log, "other")]
    async with open_supervisor(specs, intensity=100) as supervisor:
        for pause in (1, 2, 4, 8):
            await crash(supervisor, "slow")
            with pytest.raises(ActorStopped):
                supervisor.child("slow")
            assert [node.state for node in supervisor.tree().children] == ["restarting", "running"]
            assert supervisor.tree().state == "restarting"
            await crash(supervisor, "other")
            assert supervisor.child("other") is None
            await trio.sleep(pause * 0.99)
            assert [node.state for node in supervisor.tree().children] == ["restarting", "running"]
            await trio.sleep(pause * 0.02)
            assert supervisor.tree().state == "running"
        await trio.sleep(10)  # well for `maximum` seconds
        await crash(supervisor, "slow")
        await trio.sleep(1.01)
        assert incarnations(supervisor) == [6, 5]


async def test_a_crash_stays_in_its_place(caplog: pytest.LogCaptureFixture) -> None:
    async def crashes_while_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Boom("while cancelled")

    async def crashes_in_groups() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crashes_while_cancelled)
            nursery.start_soon(trio.sleep_forever)

    def bad(*_: object) -> None:
        raise Boom("a callback")

    stream = EventStream()
    stream.listen(bad)
    dynamic = DynamicSupervisor("x")
    exits: list[Exit] = []
    async with open_supervisor(
        [worker(), ChildSpec.supervisor("dynamic", lambda: dynamic)], events=stream
    ) as supervisor:
        dynamic.start_soon(partial(_fails, task_status=trio.TASK_STATUS_IGNORED), name="crashes", on_exit=exits.append)
        dynamic.start_soon(trio.sleep, 0, name="bad on_exit", on_exit=bad)
        dynamic.start_soon(crashes_in_groups, name="a", on_exit=exits.append)
        child = dynamic.start_soon(trio.sleep_forever, name="cannot be asked")
        child.request_stop = bad
        await wait_all_tasks_blocked()
    assert [type(exit_) for exit_ in exits] == [Crashed, Crashed]
    assert str(exits[1].error) == "while cancelled"  # type: ignore[union-attr]
    assert [node.last_exit for node in supervisor.tree().children] == [Stopped(), Stopped()]
    assert incarnations(supervisor) == [1, 1]
    assert sum("raised" in record.message for record in caplog.records) >= 3

    async def interrupted() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crashes_while_cancelled)
            await wait_all_tasks_blocked()
            raise KeyboardInterrupt

    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        async with open_supervisor([worker(), ChildSpec.supervisor("dynamic", lambda: dynamic)]):
            dynamic.start_soon(interrupted, name="interrupted")
            await trio.sleep_forever()


async def test_dynamic_children_are_bounded() -> None:
    dynamic = DynamicSupervisor("jobs", max_children=2)
    log: list[str] = []

    async def job(name: str) -> None:
        log.append(name)
        await trio.sleep(1)

    def again(_: Exit) -> None:
        dynamic.start_soon(job, "again", name="again")

    with pytest.raises(SupervisorStopped):
        dynamic.start_soon(job, "early", name="early")
    async with trio.open_nursery() as nursery:
        await nursery.start(dynamic.run)
        dynamic.start_soon(job, "one", name="one", on_exit=again)
        dynamic.start_soon(trio.sleep, 9, name="two")
        with pytest.raises(MaxChildrenReached, match="jobs runs its 2 children already"):
            dynamic.start_soon(job, "three", name="three")
        with pytest.raises(MaxChildrenReached):
            await dynamic.start(job, "four", name="four")
        await trio.sleep(1.5)
        assert [child.name for child in dynamic] == ["two", "again"]
        dynamic.request_stop()
        with pytest.raises(SupervisorStopped):
            dynamic.start_soon(job, "late", name="late")
    assert log == ["one", "again"]
    assert dynamic.statistics().started == 3


async def test_dynamic_children_stop_together_within_one_budget() -> None:
    dynamic = DynamicSupervisor("jobs", shutdown=4)
    ended: list[tuple[str, float]] = []

    def start(name: str, stop: float | None) -> Child:
        asked = trio.Event()

        async def job() -> None:
            try:
                await asked.wait()
                await trio.sleep(stop or 0)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(1 if name == "stubborn" else 0)
                ended.append((name, trio.current_time()))

        child = dynamic.start_soon(job, name=name)
        child.request_stop = None if stop is None else asked.set
        return child

    async with trio.open_nursery() as nursery:
        await nursery.start(dynamic.run)
        children = [start("deaf", None), start("quick", 2), start("slow", 9), start("stubborn", 9)]
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel(reason="test")
    assert ended == [("deaf", 0), ("quick", 2), ("slow", 4), ("stubborn", 5)]
    assert [child.exit for child in children] == [Stopped()] * 4


def _three_levels(may_start: trio.Event) -> tuple[Supervisor, DynamicSupervisor, Supervisor]:
    """A supervisor with children of every kind, and those of them that are supervisors; one child starts when it may."""
    dynamic = DynamicSupervisor("x")
    inner = Supervisor("y", [worker(name="w")], strategy="rest_for_one")

    async def slow(*, task_status: trio.TaskStatus[Any]) -> None:
        await may_start.wait()
        task_status.started()

    specs = [
        ChildSpec.supervisor("dynamic", lambda: dynamic),
        ChildSpec.supervisor("inner", lambda: inner),
        ChildSpec("slow", slow, restart="temporary"),
        worker(name="last"),
    ]
    return Supervisor("root", specs, strategy="one_for_all", intensity=3, period=30), dynamic, inner


async def test_the_tree_tells_the_truth() -> None:
    may_start = trio.Event()
    supervisor, dynamic, inner = _three_levels(may_start)
    assert supervisor.tree() == Node("root", "supervisor", "one_for_all", "stopped", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await wait_all_tasks_blocked()
        booting = supervisor.tree()
        assert [(node.path, node.kind, node.state) for node in (booting, *booting.children)] == [
            ("root", "supervisor", "starting"),
            ("root/dynamic", "dynamic", "running"),
            ("root/inner", "supervisor", "running"),
            ("root/slow", "task", "starting"),
            ("root/last", "actor", "stopped"),
        ]
        may_start.set()
        await wait_all_tasks_blocked()

        inner.kill_child("w", "one")
        await wait_all_tasks_blocked()
        ref = inner.child("w")
        await ref.send(Work(seconds=5))
        await wait_all_tasks_blocked()
        ref.send_nowait(Work())
        dynamic.start_soon(trio.sleep_forever, name="job")
        await dynamic.start(_startable(Worker()), name="actor")
        await dynamic.start(Supervisor("z", []).run, name="branch")
        tree = supervisor.tree()
        jobs, branch, finished, last = tree.children
        assert (tree.state, tree.incarnation, tree.restarts_in_window) == ("running", 1, 0)
        assert attrs.evolve(jobs, children=()) == Node("root/dynamic", "dynamic")
        assert jobs.children == (
            Node("root/dynamic/job", "task"),
            Node("root/dynamic/actor", "actor", mailbox_depth=0),
            Node("root/dynamic/branch", "supervisor", "one_for_one"),
        )
        killed = branch.children[0].last_exit
        assert isinstance(killed, Crashed)
        assert str(killed.error) == "one"
        assert branch == Node(
            "root/inner",
            "supervisor",
            "rest_for_one",
            restarts_in_window=1,
            children=(Node("root/inner/w", "actor", None, "running", 2, 1, killed, 1),),
        )
        assert finished == Node("root/slow", "task", state="stopped", last_exit=Finished())
        assert last == Node("root/last", "actor", mailbox_depth=0)

        inner.kill_child("w")
        supervisor.kill_child("inner", "two")
        await wait_all_tasks_blocked()
        tree = supervisor.tree()
        assert (tree.restarts_in_window, [node.incarnation for node in tree.children]) == (1, [2, 2, 1, 2])
        assert str(tree.children[1].last_exit.error) == "two"  # type: ignore[union-attr]
        assert tree.children[1].children[0].incarnation == 1  # a new supervisor, as far as its children can tell
        supervisor.request_stop()
    stopped = supervisor.tree()
    assert {node.state for node in (stopped, *stopped.children, *stopped.children[1].children)} == {"stopped"}


def _startable(actor: Actor[Any]) -> Callable[..., Any]:
    async def start(*, task_status: trio.TaskStatus[Any]) -> Exit:
        return await run_actor(actor, task_status=task_status)

    return start


async def test_the_events_tell_the_truth() -> None:
    stream = EventStream()
    seen: list[Event] = []
    unlisten = stream.listen(seen.append)
    dynamic = DynamicSupervisor("x")
    inner = Supervisor("y", [worker(name="w")], intensity=0)
    specs = [ChildSpec.supervisor("inner", lambda: inner), ChildSpec.supervisor("dynamic", lambda: dynamic)]
    async with open_supervisor(specs, events=stream):
        await trio.sleep(1)

        dynamic.start_soon(partial(_fails, task_status=trio.TASK_STATUS_IGNORED), name="job")
        dynamic.start_soon(trio.sleep, 0, name="quiet")
        await trio.sleep(1)
        inner.kill_child("w", "why")
        await wait_all_tasks_blocked()
    told = [(event.time, event.kind, event.path, event.incarnation, type(event.exit)) for event in seen]
    assert told == [
        (0, "started", "root/inner/w", 1, type(None)),
        (0, "started", "root/inner", 1, type(None)),
        (0, "started", "root/dynamic", 1, type(None)),
        (1, "crashed", "root/dynamic/job", 1, Crashed),
        (2, "crashed", "root/inner/w", 1, Crashed),
        (2, "escalated", "root/inner", 1, Crashed),
        (2, "crashed", "root/inner", 1, Crashed),
        (2, "started", "root/inner/w", 1, type(None)),
        (2, "restarted", "root/inner", 2, type(None)),
        (2, "stopped", "root/dynamic", 1, Stopped),
        (2, "stopped", "root/inner/w", 1, Stopped),
        (2, "stopped", "root/inner", 2, Stopped),
    ]
    unlisten()
    unlisten()
    stream.emit("stopped", "elsewhere", 1)
    assert len(seen) == len(told)
    with stream.open(max_buffer=2) as feed:
        for incarnation in range(5):
            stream.emit("started", "x", incarnation)
        assert [feed.channel.receive_nowait().incarnation for _ in range(2)] == [0, 1]
        assert feed.dropped == 3
    assert [event async for event in feed.channel] == []


async def test_no_task_outlives_its_owner() -> None:
    ways: list[Callable[[Supervisor, trio.CancelScope], None]] = [
        lambda supervisor, scope: supervisor.request_stop(),
        lambda supervisor, scope: scope.cancel(reason="test"),
        lambda supervisor, scope: supervisor.kill_child("w"),  # at intensity 0
        lambda supervisor, scope: supervisor.kill_child("dynamic"),
    ]
    for end in ways:
        dynamic = DynamicSupervisor("x", shutdown=1)
        specs = [worker(name="w"), ChildSpec.supervisor("dynamic", partial(_the, dynamic))]
        supervisor = Supervisor("root", specs, intensity=0)
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Child("root", "root", lambda _: None).run, supervisor.run)
                await wait_all_tasks_blocked()
                stubborn = dynamic.start_soon(_takes(3), name="stubborn")
                await wait_all_tasks_blocked()
                assert trio.lowlevel.current_statistics().tasks_living > before + 4
                end(supervisor, scope)
        assert stubborn.exit is not None
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


async def _fails(*, task_status: trio.TaskStatus[Any]) -> None:
    await trio.lowlevel.checkpoint()
    raise Boom


def _the(supervisor: Any) -> Any:
    return supervisor


def _takes(seconds: float) -> Callable[[], Any]:
    async def job() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)

    return job


async def test_errors_arrive_bare() -> None:
    log: list[Any] = []
    with pytest.raises(Boom) as raised:
        async with open_supervisor([task(log, "a", stop=1)]):
            raise Boom("mine")
    assert (str(raised.value), log[-1]) == ("mine", "a ends")

    with trio.move_on_after(1) as scope, pytest.raises(Boom):
        async with open_supervisor([task(log, "a", stop=1)]):
            try:
                await trio.sleep_forever()
            finally:
                raise Boom("while cancelled")
    with pytest.raises(StartError):
        async with open_supervisor([ChildSpec("bad", _fails)]):
            raise AssertionError
    with pytest.raises(RestartLimitReached) as reached:
        async with open_supervisor([worker()], intensity=0) as supervisor:
            supervisor.kill_child("w")
            try:
                await trio.sleep_forever()
            finally:
                raise Boom("on top")
    assert reached.value.__notes__ == ["the block that was cancelled raised Boom('on top')"]
    with trio.move_on_after(1) as scope:
        async with open_supervisor([task(log, "a", stop=1)]):
            await trio.sleep_forever()
    assert scope.cancelled_caught
