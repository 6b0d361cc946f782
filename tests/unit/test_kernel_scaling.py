"""No registration, and no withdrawal, looks at what does not concern it: neither at triggers, nor functions, nor names.

The cost itself is measured by `just bench`; here the tables refuse to be gone through.
"""

from collections.abc import Iterator
from random import Random
from typing import Any, NoReturn

import pytest
from engine_functions_world import Outlet, outlet_of, take

from iii_trio.kernel import Ids, Kernel, ModuleOwner, Trigger, TriggerType, TrioClock, Worker
from iii_trio.kernel.triggers import WorkerProvider
from iii_trio.protocol.messages import Announcement


class Table(dict[Any, Any]):
    """A dict to look things up in, not to go through."""

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError("gone through from one end to the other")

    __iter__ = keys = values = items = _refuse  # type: ignore[assignment]


@pytest.fixture
async def kernel() -> Kernel:
    kernel = Kernel(clock=TrioClock(), ids=Ids(Random(1)))
    kernel.triggers._triggers = Table()
    kernel.workers._names = Table()
    kernel.functions._spaces["default"] = Table()
    return kernel


def connect(kernel: Kernel, name: str | None = None) -> Worker:
    worker = kernel.connect(outlet=Outlet())
    kernel.announce(worker, Announcement(name=name, version="0.25.0"))
    return worker


async def test_triggers_of_other_types_are_not_looked_at(kernel: Kernel) -> None:
    owner, worker, provider = ModuleOwner("m"), connect(kernel), connect(kernel)
    with kernel.triggers.serve("local", lambda _: lambda: None, owner=owner):
        for number in range(4):
            take(kernel, worker, "registertrigger", id=f"t{number}", trigger_type="local", function_id="f")
        kernel.triggers.add_type(TriggerType("bell", provider, WorkerProvider(provider)))
        take(kernel, worker, "registertrigger", id="b", trigger_type="bell", function_id="f")
        assert kernel.triggers.remove_type(provider, "default", "bell")
        assert (kernel.triggers.statistics().bound, kernel.triggers.statistics().parked) == (4, 1)
        kernel.triggers.add_type(TriggerType("bell", provider, WorkerProvider(provider)))
        kernel.disconnect(provider)
    assert kernel.triggers.statistics().parked == 5
    take(kernel, worker, "unregistertrigger", id="t0")
    kernel.disconnect(worker)
    assert len(kernel.triggers._triggers) == 0


async def test_functions_and_names_of_others_are_not_looked_at(kernel: Kernel) -> None:
    first, second = connect(kernel, "billing"), connect(kernel, "shipping")
    take(kernel, first, "registerfunction", id="f")
    take(kernel, first, "registerfunction", id="g")
    take(kernel, second, "registerfunction", id="h")
    take(kernel, first, "unregisterfunction", id="f")
    assert kernel.functions.namespaces_of("f") == []
    assert kernel.functions.namespaces_of("h") == ["default"]
    kernel.disconnect(first)
    assert kernel.functions.namespaces_of("g") == []
    assert kernel.workers.statistics().names == 1
    kernel.disconnect(second)
    assert kernel.workers.statistics().names == 0


async def test_a_name_taken_over_stays_with_its_new_holder() -> None:
    kernel = Kernel(clock=TrioClock(), ids=Ids(Random(1)))
    first = connect(kernel, "billing")
    first.closing = True  # its cleanup is under way when its successor announces itself
    second = connect(kernel, "billing")
    kernel.workers.remove(first)
    third = kernel.connect(outlet=Outlet())
    assert kernel.workers.claim(third, "default", "billing", modern=True) is second
    kernel.disconnect(second)
    assert kernel.workers.claim(third, "default", "billing", modern=True) is None


async def test_a_provider_hears_of_its_triggers_in_the_order_of_their_registration() -> None:
    kernel = Kernel(clock=TrioClock(), ids=Ids(Random(1)))
    worker, provider = connect(kernel), connect(kernel)
    ids = ["c", "a", "b", "d"]
    for trigger_id in (*ids, "c"):  # registered again, it is the last
        kernel.triggers.add(Trigger(trigger_id, "bell", "f", registrant=worker))
    kernel.triggers.add_type(TriggerType("bell", provider, WorkerProvider(provider)))
    assert [message["id"] for message in outlet_of(provider).of_type("registertrigger")] == ["a", "b", "d", "c"]


async def test_a_local_provider_lets_go_of_what_a_worker_takes_over() -> None:
    """Else a route of the engine would live on beside the worker that now serves its type."""
    kernel, log = Kernel(clock=TrioClock(), ids=Ids(Random(1))), []
    provider = connect(kernel)
    with kernel.triggers.serve("bell", lambda _: lambda: log.append("unbound"), owner=ModuleOwner("m")):
        kernel.triggers.add(Trigger("t", "bell", "f"))
        kernel.triggers.add_type(TriggerType("bell", provider, WorkerProvider(provider)))
        assert log == ["unbound"]
    assert log == ["unbound"]
    assert len(kernel.triggers.live) == 1


async def test_of_a_function_registered_twice_before_the_announcement_the_last_counts() -> None:
    """The first had to wait because somebody owned the id, the second did not: replayed, it must not bring the first back."""
    kernel = Kernel(clock=TrioClock(), ids=Ids(Random(1)))
    owner, worker = connect(kernel), kernel.connect(outlet=Outlet())
    take(kernel, owner, "registerfunction", id="f")
    take(kernel, worker, "registerfunction", id="f", description="old")
    kernel.disconnect(owner)
    take(kernel, worker, "registerfunction", id="f", description="new")
    kernel.announce(worker, Announcement(version="0.25.0"))
    function = kernel.functions.find("default", "f")
    assert function is not None
    assert (function.owner, function.description) == (worker, "new")


async def test_what_was_registered_early_is_withdrawn_without_a_look_at_the_rest(kernel: Kernel) -> None:
    worker = kernel.connect(outlet=Outlet())
    worker.early = Table()
    for function_id in "fgh":
        take(kernel, worker, "registerfunction", id=function_id)
    take(kernel, worker, "unregisterfunction", id="g")
    assert len(worker.early) == 2


def namespaces_by_looking(kernel: Kernel, function_id: str) -> Iterator[str]:
    return (name for name, space in kernel.functions._spaces.items() if function_id in space)


async def test_the_namespaces_of_an_id_are_those_that_have_it() -> None:
    kernel, random = Kernel(clock=TrioClock(), ids=Ids(Random(1))), Random(7)
    homes = ["default", "eu", "us"]
    workers = {home: kernel.connect(outlet=Outlet(), namespace=home) for home in homes}
    for _ in range(300):
        home = random.choice(homes)
        kind = random.choice(["registerfunction", "registerfunction", "unregisterfunction"])
        take(kernel, workers[home], kind, id=random.choice("fgh"))
        if random.random() < 0.1:
            kernel.disconnect(workers[home])
            workers[home] = kernel.connect(outlet=Outlet(), namespace=home)
        for function_id in "fgh":
            assert kernel.functions.namespaces_of(function_id) == sorted(namespaces_by_looking(kernel, function_id))
    for worker in workers.values():
        kernel.disconnect(worker)
    assert kernel.functions._elsewhere == {}
