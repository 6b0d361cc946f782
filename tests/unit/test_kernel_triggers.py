"""The trigger registry with providers inside the engine (wire-protocol 7)."""

from collections.abc import Callable
from random import Random

import pytest
from engine_functions_world import Outlet, outlet_of

from iii_trio.kernel import Ids, Kernel, ModuleOwner, Trigger, TriggerType, TrioClock, Worker
from iii_trio.kernel.triggers import WorkerProvider
from iii_trio.protocol import ErrorBody, Payload
from iii_trio.protocol.errors import TriggerRejected

OWNER = ModuleOwner("cron", "cron")


class Binder:
    """A provider that notes what it binds and refuses configs that are `false`."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def bind(self, trigger: Trigger) -> Callable[[], None]:
        if trigger.config.value is False:
            raise TriggerRejected("must not be false")
        self.log.append(f"+{trigger.id}")
        return lambda: self.log.append(f"-{trigger.id}")


def new_kernel() -> Kernel:
    return Kernel(clock=TrioClock(), ids=Ids(Random(1)))


def trigger(trigger_id: str, registrant: Worker | None = None, *, config: object = None, kind: str = "cron") -> Trigger:
    return Trigger(trigger_id, kind, "f", Payload.of(config), registrant=registrant)


def worker_of(kernel: Kernel) -> Worker:
    return kernel.connect(outlet=Outlet(), namespace="default")


async def test_a_type_is_served_for_the_length_of_a_block_again_and_again() -> None:
    kernel, binder = new_kernel(), Binder()
    kernel.triggers.add(trigger("parked"))
    for _ in range(2):
        with kernel.triggers.serve("cron", binder.bind, owner=OWNER, alias="timer"):
            kernel.triggers.add(trigger("aliased", kind="timer"))
        assert kernel.triggers.statistics().parked == 2
    first = ["+parked", "+aliased", "-parked", "-aliased"]
    assert binder.log == [*first, "+parked", "+aliased", "-aliased", "+aliased", "-parked", "-aliased"]


async def test_a_trigger_whose_type_nobody_provides_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    kernel = new_kernel()
    with kernel.triggers.serve("http", Binder().bind, owner=OWNER):
        kernel.triggers.add(trigger("t1", kind="http"))
        assert not caplog.messages
        kernel.triggers.add(trigger("t2", kind="htpp\n"))
    assert caplog.messages == [r"trigger t2 of f waits: no worker and no module provides the type htpp\n"]


async def test_a_refused_trigger_leaves_no_trace() -> None:
    kernel, binder = new_kernel(), Binder()
    worker = worker_of(kernel)
    with kernel.triggers.serve("cron", binder.bind, owner=OWNER):
        kernel.triggers.add(trigger("t1", worker, config=False))
        kernel.triggers.add(trigger("nobody's", config=False))
        assert kernel.triggers.get("t1") is None
        kernel.triggers.add(trigger("t2", worker))
        kernel.triggers.add(trigger("t2", worker, config=False))  # replaces, and is refused
        assert kernel.triggers.statistics().bound == 0
    errors = [message["error"] for message in outlet_of(worker).messages]
    assert errors == [{"code": "trigger_registration_failed", "message": "must not be false"}] * 2
    assert worker.triggers == {}
    assert binder.log == ["+t2", "-t2"]


async def test_a_refusal_whose_text_is_not_unicode_is_told_too() -> None:
    kernel = new_kernel()
    worker = worker_of(kernel)

    def refuse(_: Trigger) -> Callable[[], None]:
        raise TriggerRejected("no \udcff.txt here")

    with kernel.triggers.serve("files", refuse, owner=OWNER):
        kernel.triggers.add(trigger("t1", worker, kind="files"))
    assert outlet_of(worker).messages[0]["error"]["message"] == r"no \udcff.txt here"


async def test_a_provider_may_refuse_after_the_fact() -> None:
    kernel, binder = new_kernel(), Binder()
    worker = worker_of(kernel)
    with kernel.triggers.serve("cron", binder.bind, owner=OWNER):
        late = trigger("t1", worker)
        kernel.triggers.add(late)
        kernel.triggers.reject(late, "no more")
        kernel.triggers.reject(late, "no more")  # it is gone: nothing to undo, told again
        assert kernel.triggers.get("t1") is None
    assert [message["error"]["message"] for message in outlet_of(worker).messages] == ["no more"] * 2


async def test_the_answers_of_others_than_the_provider_count_for_nothing() -> None:
    kernel, binder = new_kernel(), Binder()
    worker, told = worker_of(kernel), []
    kernel.events.listen(lambda kind, subject: told.append((kind, subject)))
    kernel.triggers.add(trigger("parked", worker, kind="nope"))
    with kernel.triggers.serve("cron", binder.bind, owner=OWNER):
        kernel.triggers.add(trigger("t1", worker))
        for trigger_id in ("t1", "parked", "never"):
            kernel.triggers.refused_by_provider(worker, trigger_id, ErrorBody("c", "m"))
            kernel.triggers.accepted_by_provider(worker, trigger_id)
        assert len(kernel.triggers.live) == 1
    assert outlet_of(worker).messages == []
    assert "trigger_accepted" not in {kind for kind, _ in told}


async def test_a_closing_provider_gets_nothing_more() -> None:
    # wire-protocol 7.3, 6.
    kernel = new_kernel()
    provider = worker_of(kernel)
    kernel.triggers.add_type(TriggerType("webhook", provider, WorkerProvider(provider)))
    provider.closing = True
    kernel.triggers.add(trigger("t1", kind="webhook"))
    assert kernel.triggers.statistics().parked == 1
    assert outlet_of(provider).messages == []


async def test_a_type_taken_over_is_not_removed_by_its_former_provider() -> None:
    kernel = new_kernel()
    first, second = worker_of(kernel), worker_of(kernel)
    for worker in (first, second):
        kernel.triggers.add_type(TriggerType("webhook", worker, WorkerProvider(worker)))
    assert not kernel.triggers.remove_type(first, "default", "webhook")
    kernel.disconnect(first)
    kind = kernel.triggers.get_type("default", "webhook")
    assert kind is not None
    assert kind.owner is second


async def test_replacing_an_entry_of_another_registrant_moves_it() -> None:
    kernel = new_kernel()
    first, second = worker_of(kernel), worker_of(kernel)
    for registrant in (first, second, None):
        kernel.triggers.add(trigger("t1", registrant))
    assert (first.triggers, second.triggers) == ({}, {})
    assert kernel.triggers.remove("t1")
    assert not kernel.triggers.remove("t1")


@pytest.mark.parametrize(("explicit", "home", "found"), [("a", "b", ("a",)), (None, "b", ("b", "default"))])
async def test_where_a_provider_is_looked_for(explicit: str | None, home: str, found: tuple[str, ...]) -> None:
    kernel = new_kernel()
    worker = kernel.connect(outlet=Outlet(), namespace=home)
    wanted = Trigger("t", "cron", "f", registrant=worker, trigger_namespace=explicit)
    assert wanted.candidates() == found
    assert Trigger("t", "cron", "f").candidates() == ("default",)
