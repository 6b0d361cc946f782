"""Registries of functions, workers, services and the journal of early registrations (wire-protocol 3.4, 4, 9, 12.4)."""

from random import Random
from typing import Any

import attrs
import pytest
from engine_functions_world import Outlet, outlet_of, take

from iii_trio.kernel import Function, FunctionRegistry, Ids, Kernel, KernelEvents, ModuleOwner, TrioClock, Worker
from iii_trio.kernel.services import ServiceRegistry
from iii_trio.kernel.workers import check_namespace, clean_label, parse_version
from iii_trio.protocol.errors import InvalidNamespace
from iii_trio.protocol.messages import Announcement


def new_kernel() -> Kernel:
    return Kernel(clock=TrioClock(), ids=Ids(Random(1)))


async def connected(kernel: Kernel, version: str | None = None, **details: Any) -> Worker:
    """A worker, announced if it has a version."""
    worker = kernel.connect(outlet=Outlet(), **details)
    if version is not None:
        kernel.announce(worker, Announcement(version=version))
    return worker


def owner_of(kernel: Kernel, function_id: str, namespace: str = "default") -> Any:
    function = kernel.functions.find(namespace, function_id)
    return function.owner if function else None


# --- functions --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Shared:
    """A policy under which every owner stays: replicas of a function."""

    def admit(self, owners: list[Function], newcomer: Function) -> list[Function]:
        return [*owners, newcomer]


def test_a_policy_may_keep_several_owners_of_an_id() -> None:
    registry = FunctionRegistry(KernelEvents(), Shared())
    owners = [ModuleOwner("a"), ModuleOwner("b")]
    for owner in owners:
        registry.add(Function("f", owner))
    assert registry.statistics().functions == 1
    assert registry.remove(owners[0], "default", "f")
    found = registry.find("default", "f")
    assert found is not None
    assert found.owner is owners[1]
    assert not registry.remove(owners[0], "default", "f")
    registry.remove_all(owners[1])
    assert list(registry) == []


def test_empty_namespaces_do_not_stay() -> None:
    registry = FunctionRegistry(KernelEvents())
    owner = ModuleOwner("a")
    registry.add(Function("f", owner, "shop"))
    registry.add(Function("g", owner, "shop"))
    assert registry.statistics().namespaces == 2
    registry.remove_all(owner)
    assert registry.statistics().namespaces == 1


async def test_a_refused_registration_leaves_no_namespace_behind() -> None:
    kernel = new_kernel()
    first, second = [await connected(kernel, namespace="shop", version="0.23.0") for _ in range(2)]
    take(kernel, first, "registerfunction", id="f")
    take(kernel, second, "registerfunction", id="f")
    take(kernel, second, "registerfunction", id="engine::x")
    assert [message["owner_worker_id"] for message in outlet_of(second).messages] == [first.id, ""]
    kernel.disconnect(first)
    assert kernel.functions.statistics().namespaces == 1


async def test_http_invoked_functions_are_not_registered_and_plain_nulls_are() -> None:
    kernel = new_kernel()
    worker = await connected(kernel, "0.23.0")
    take(kernel, worker, "registerfunction", id="http", invocation={"url": "https://x.test"})
    take(kernel, worker, "registerfunction", id="plain", invocation=None)
    assert (owner_of(kernel, "http"), owner_of(kernel, "plain")) == (None, worker)
    assert outlet_of(worker).messages == []


# --- the journal ------------------------------------------------------------------------------------------------------


async def test_of_two_late_announcers_the_later_registration_wins() -> None:
    # 4.2: who announces last must not take back what a later registration has taken over
    kernel = new_kernel()
    first, second = [await connected(kernel) for _ in range(2)]
    take(kernel, first, "registerfunction", id="f")
    take(kernel, second, "registerfunction", id="f")
    assert owner_of(kernel, "f") is first
    kernel.announce(second, Announcement(version="0.11.6"))
    assert owner_of(kernel, "f") is second
    kernel.announce(first, Announcement(version="0.11.6"))
    assert owner_of(kernel, "f") is second
    assert first.early == second.early == {}


async def test_a_withdrawn_early_function_does_not_come_back() -> None:
    kernel = new_kernel()
    owner, worker = await connected(kernel, "0.11.6"), await connected(kernel)
    for function_id in ("held", "own"):
        take(kernel, owner, "registerfunction", id="held")
        take(kernel, worker, "registerfunction", id=function_id)
    take(kernel, worker, "unregisterfunction", id="held")
    take(kernel, worker, "unregisterfunction", id="own")
    kernel.announce(worker, Announcement(namespace="shop"))
    assert worker.functions == {}
    assert owner_of(kernel, "held") is owner


async def test_moving_applies_every_early_message_once_in_order() -> None:
    kernel = new_kernel()
    worker, provider = await connected(kernel), await connected(kernel, "0.23.0")
    take(kernel, provider, "registertriggertype", id="webhook", description="")
    take(kernel, worker, "registertrigger", id="t1", trigger_type="webhook", function_id="f", config=1)
    take(kernel, worker, "registertrigger", id="t2", trigger_type="webhook", function_id="f", config=2)
    take(kernel, worker, "registertrigger", id="bad", trigger_type="webhook", function_id="f", namespace=" ")
    take(kernel, worker, "unregistertrigger", id="t1")
    take(kernel, worker, "registerservice", id="s")
    take(kernel, worker, "registertriggertype", id="own", description="", namespace=" ")
    take(kernel, worker, "unregistertriggertype", id="never")
    kernel.announce(worker, Announcement(namespace="shop"))
    assert list(worker.triggers) == ["t2"]
    assert [message["id"] for message in outlet_of(worker).messages] == ["bad"]
    assert worker.trigger_types == {}
    kernel.disconnect(worker)
    assert kernel.triggers.statistics().bound == 0


async def test_the_journal_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iii_trio.kernel.registrations._JOURNAL_LIMIT", 3)
    kernel = new_kernel()
    worker = await connected(kernel)
    for number in range(5):
        take(kernel, worker, "registerfunction", id=f"f{number}")
    assert worker.namespace == "default"
    assert worker.early == {}
    assert len(worker.functions) == 5


# --- workers ----------------------------------------------------------------------------------------------------------


async def test_leases_and_names() -> None:
    kernel = new_kernel()
    worker = await connected(kernel, "0.23.0")
    kernel.announce(worker, Announcement(name="billing"))
    other = await connected(kernel, "0.11.6")
    kernel.announce(other, Announcement(name="billing", version="0.11.6"))
    assert kernel.workers.named(["billing", "nobody"]) == [worker, other]
    assert list(kernel.workers) == [worker, other]
    kernel.disconnect(worker)
    kernel.disconnect(other)
    statistics = kernel.workers.statistics()
    assert (statistics.connected, statistics.ever_connected, statistics.names) == (0, 2, 0)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.23.1", (0, 23, 1)),
        ("v1.2", (1, 2, 0)),
        (" 0.9", (0, 9, 0)),
        ("0.24.5rc1", (0, 24, 5)),
        ("0.24.dev1", (0, 24, 0)),
        ("1", None),
        ("dev", None),
        ("", None),
        (None, None),
    ],
)
def test_versions_are_read_leniently(text: str | None, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


def test_labels_and_namespaces_are_checked() -> None:
    assert clean_label("\x1b[31mred\u202e") == "[31mred"
    assert clean_label(None) is clean_label("\x00") is None
    assert check_namespace(None) == "default"
    assert check_namespace(" a ") == " a "
    with pytest.raises(InvalidNamespace):
        check_namespace(" ")


# --- services ---------------------------------------------------------------------------------------------------------


def test_services_are_bounded_names_and_published_objects() -> None:
    services = ServiceRegistry(limit=2)
    assert [services.announce(name, None) for name in ("a", "b", "c", "a")] == [True, True, False, True]
    assert services.statistics() == 2
    services.register("module", services)
    assert services.get("module") is services
    assert services.get("never") is None
