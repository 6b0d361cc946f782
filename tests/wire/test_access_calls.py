"""What workers of a guarded listener may call, and how a refusal is said (wire-protocol 11.5, 11.6, 11.9)."""

from typing import Any

import pytest
import trio
from access_rig import GUARD, AnyPort, Guarded, open_guarded, refusing
from trio.testing import MockClock
from wire_client import MODERN, Client, Json, of_others

from iii_trio.kernel.access import INFRASTRUCTURE

NOTHING = {"rbac": {}}
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage": "a=1"}
PROXY = "gate::proxy"


def exposing(*filters: Any, **more: Any) -> Json:
    return {"rbac": {"expose_functions": list(filters), **more}}


def admitting(guarded: Guarded, **answer: Any) -> None:
    guarded.script(GUARD, lambda _: answer)


async def _answering(worker: Client, nursery: trio.Nursery) -> None:
    """Have a worker answer whatever it is called with by what it was given."""

    async def serve() -> None:
        while True:
            call = await worker.hear("invokefunction", within=3_600)
            await worker.answer(call, result=call["data"])

    nursery.start_soon(serve)


# --- exposure ---------------------------------------------------------------------------------------------------------


async def test_with_nothing_exposed_a_worker_may_call_infrastructure_only(autojump_clock: MockClock) -> None:
    # wire 77
    async with open_guarded(NOTHING) as guarded:
        await guarded.offer("shop::list", metadata={"public": True})
        worker = await guarded.enter(announcement=MODERN)
        for name in ("shop::list", "shop::missing", "engine::workers::list", "engine::register_trigger", "state::get"):
            error = await worker.error(name)
            assert error["code"] == "FORBIDDEN"
            assert name in error["message"]
            assert "rbac.expose_functions" in error["message"]
        for name in INFRASTRUCTURE:
            assert await guarded.code(worker, name) != "FORBIDDEN"


async def test_patterns_and_metadata_expose(autojump_clock: MockClock) -> None:
    # wire 78
    rules = [
        'match("pre::*")',
        "match('*::suf')",
        'match("a*z::m")',
        'match("only::this")',
        {"metadata": {"public": True, "tier": 'match("*basic*")'}},
        {"match": "orders::*", "namespace": "orders"},
    ]
    async with open_guarded(exposing(*rules)) as guarded:
        offering = await guarded.offer("m::all", metadata={"public": True, "tier": "a basic one"})
        await guarded.offer("m::some", metadata={"public": True})
        worker = await guarded.enter()
        exposed = ("pre::", "pre::a::b", "x::suf", "::suf", "az::m", "a::q::z::m", "only::this")
        hidden = ("pre:", "suf", "az::m2", "only::this2", "xonly::this", "m::some", "orders::x")
        assert {await guarded.code(worker, name) for name in exposed} == {"function_not_found"}
        assert {await guarded.code(worker, name) for name in hidden} == {"FORBIDDEN"}
        assert await guarded.code(worker, "orders::x", namespace="orders") == "function_not_found"
        assert await guarded.code(worker, "pre::a", namespace="orders") == "FORBIDDEN"
        invocation_id = await worker.invoke("m::all")
        await offering.serve_one("m::all", result="ran")
        assert (await worker.outcome(invocation_id))["result"] == "ran"


async def test_an_exposed_function_runs_and_its_answer_comes_back(autojump_clock: MockClock) -> None:
    # wire 77, 31: and it is told who calls
    async with open_guarded(exposing('match("shop::*")')) as guarded:
        shop = await guarded.offer("shop::list")
        worker = await guarded.enter()
        invocation_id = await worker.invoke("shop::list", {"page": 2}, **TRACE)
        call = await shop.serve_one("shop::list", result=[1])
        assert call["data"] == {"page": 2, "_caller_worker_id": worker.id}
        assert (await worker.outcome(invocation_id))["result"] == [1]


async def test_a_function_is_exposed_as_long_as_its_metadata_says_so(autojump_clock: MockClock) -> None:
    # 11.5: the decision is remembered, not the metadata
    async with open_guarded(exposing({"metadata": {"level": 3}})) as guarded:
        shop = await guarded.world.connect()
        worker = await guarded.enter()
        for metadata, open_ in (({"level": 3}, True), ({"level": 3.0}, False), ({"level": 3}, True), (None, False)):
            await shop.register("shop::x", metadata=metadata)
            await shop.fence()
            for _ in range(2):
                await worker.invoke("shop::x", invocation_id="00000000-0000-4000-8000-000000000001")
                if open_:
                    await shop.serve_one("shop::x", result=1)
                outcome = await worker.outcome("00000000-0000-4000-8000-000000000001")
                assert ("error" not in outcome) == open_


async def test_lists_of_the_session(autojump_clock: MockClock) -> None:
    # wire 79
    async with open_guarded(exposing('match("shop::*")', auth_function_id=GUARD)) as guarded:
        admitting(
            guarded,
            allowed_functions=["extra::x", "engine::workers::list"],
            forbidden_functions=["shop::secret", "engine::channels::create", "engine::workers::register", "extra::y"],
        )
        worker = await guarded.enter()
        assert await guarded.code(worker, "extra::x") == "function_not_found"
        assert await guarded.code(worker, "extra::x", namespace="a") == "FORBIDDEN"
        assert await guarded.code(worker, "engine::workers::list") == "ok"
        for name in ("shop::secret", "engine::channels::create", "engine::workers::register", "extra::y"):
            error = await worker.error(name)
            assert error["code"] == "FORBIDDEN"
            assert name in error["message"]
            assert "rbac.forbidden_functions" in error["message"]
        await worker.say(type="registerworker", runtime="raw", name="sneaky")
        assert await worker.fence() == []
        assert all(known.name is None for known in guarded.engine.kernel.workers)  # nobody has announced itself


async def test_how_a_refusal_is_answered(autojump_clock: MockClock) -> None:
    # 11.5: with the caller's trace context; never where no answer is wanted
    async with open_guarded(NOTHING) as guarded:
        shop = await guarded.offer("shop::x")
        worker = await guarded.enter()
        outcome = await worker.call("shop::x", **TRACE)
        assert outcome.items() >= {"function_id": "shop::x", **TRACE}.items()
        assert outcome["error"]["code"] == "FORBIDDEN"
        await worker.say(type="invokefunction", function_id="shop::x", data={})
        await worker.invoke("shop::x", action={"type": "void"})
        assert await worker.fence() == []
        for action in ({"type": "enqueue", "queue": "default"},):
            assert await guarded.code(worker, "shop::x", action=action) == "FORBIDDEN"
        assert await guarded.code(worker, "shop::x", namespace=" ") == "INVALID_NAMESPACE"
        assert await guarded.code(worker, "shop::x", action={"type": "other"}) == "invalid_action"
        assert await shop.fence() == []


async def test_what_asks_for_the_session_is_not_reached_without_it(autojump_clock: MockClock) -> None:
    # a queue would call these with nobody's session
    everything = exposing('match("*")')
    async with open_guarded(everything) as guarded:
        guarded.script("engine::queue::enqueue")
        worker = await guarded.enter()
        queue = {"action": {"type": "enqueue", "queue": "default"}}
        for name in ("engine::register_trigger", "engine::unregister_trigger", "engine::functions::list"):
            assert await guarded.code(worker, name, **queue) == "FORBIDDEN"
        assert await guarded.code(worker, "shop::x", **queue) == "ok"
        assert [asked["function_id"] for asked in guarded.asked["engine::queue::enqueue"]] == ["shop::x"]


# --- namespaces -------------------------------------------------------------------------------------------------------


async def test_grants_in_namespaces(autojump_clock: MockClock) -> None:
    # wire 110
    grants = {"a": ["x::*", "exact"], "b": ['match("y::*")']}
    async with open_guarded(exposing('match("open::*")', auth_function_id=GUARD)) as guarded:
        admitting(guarded, namespaces=grants)
        worker = await guarded.enter()
        allowed = [("x::1", "a"), ("exact", "a"), ("y::1", "b"), ("open::1", None), ("engine::channels::create", "a")]
        denied = [("y::1", "a"), ("x::1", "b"), ("exact2", "a"), ("x::1", None), ("open::1", "a"), ("x::1", "c")]
        for function_id, namespace in allowed:
            assert await guarded.code(worker, function_id, namespace=namespace) == "function_not_found"
        for function_id, namespace in denied:
            assert await guarded.code(worker, function_id, namespace=namespace) == "FORBIDDEN"


async def test_announcing_a_namespace_that_is_not_granted(autojump_clock: MockClock) -> None:
    # wire 110
    async with open_guarded({"rbac": {"auth_function_id": GUARD}}) as guarded:
        admitting(guarded, namespaces={"a": [], "b": []})
        worker = await guarded.enter()
        for said in ({}, {"namespace": "default"}, {"namespace": None}, {"namespace": "z"}):
            error = (await worker.announce(name="w", **said))["error"]
            assert error["code"] == "FORBIDDEN"
            assert "a, b" in error["message"]
        await worker.say(type="registerworker", runtime="raw", name="w")
        await worker.fence()
        known = guarded.engine.kernel.workers.get(worker.id)
        assert known is not None
        assert (known.announced, known.name, known.namespace) == (False, None, None)
        assert (await worker.announce(namespace=" "))["error"]["code"] == "INVALID_NAMESPACE"
        assert (await worker.announce(namespace="b"))["result"] == {"success": True}
        assert (await worker.announce(namespace="z"))["error"]["code"] == "FORBIDDEN"
        assert (await worker.announce())["error"]["code"] == "FORBIDDEN"
        assert known.namespace == "b"


async def test_without_grants_any_namespace_may_be_announced(autojump_clock: MockClock) -> None:
    async with open_guarded(NOTHING) as guarded:
        assert (await guarded.enter(announcement=MODERN, namespace="anything")).id


# --- middleware -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rbac", [{}, exposing('match("shop::*")', auth_function_id=GUARD)], ids=["alone", "rbac"])
async def test_a_middleware_serves_the_calls(autojump_clock: MockClock, rbac: Json) -> None:
    # wire 80
    async with open_guarded({**rbac, "middleware_function_id": PROXY}) as guarded:
        admitting(guarded, context={"user": "u1"})
        shop = await guarded.offer("shop::list", PROXY)
        worker = await guarded.enter()
        invocation_id = await worker.invoke("shop::list", {"page": 2}, metadata={"m": 1}, **TRACE)
        call = await shop.invoked(PROXY)
        assert call["data"] == {
            "function_id": "shop::list",
            "payload": {"page": 2},
            "action": None,
            "context": {"user": "u1"} if rbac else {},
            "namespace": "default",
        }
        assert call["metadata"] == {"m": 1}
        assert not {"traceparent", "baggage"} & set(call)
        await shop.answer(call, result={"through": 1})
        outcome = await worker.outcome(invocation_id)
        assert outcome.items() >= {"function_id": "shop::list", "result": {"through": 1}, **TRACE}.items()
        invocation_id = await worker.invoke("shop::list", "text")
        call = await shop.invoked(PROXY)
        assert call["data"]["payload"] == "text"
        error = {"code": "MW", "message": "refused", "stacktrace": "line 1"}
        await shop.answer(call, error=error)
        assert (await worker.outcome(invocation_id))["error"] == error
        assert [message["type"] for message in await shop.fence()] == []


async def test_a_middleware_sees_what_no_answer_is_wanted_for(autojump_clock: MockClock) -> None:
    # wire 111
    async with open_guarded({"middleware_function_id": PROXY}) as guarded:
        asked = guarded.script(PROXY, lambda question: {"through": question["payload"]})
        worker = await guarded.enter()
        await worker.invoke("shop::x", [1], action={"type": "void"})
        await worker.say(type="invokefunction", function_id="shop::x", data=[2])
        await worker.say(type="invokefunction", function_id="shop::x")
        enqueue = {"type": "enqueue", "queue": "default"}
        assert (await worker.call("shop::x", [3], action=enqueue))["result"] == {"through": [3]}
        assert await worker.fence() == []
        asked.sort(key=lambda question: str(question["payload"]))
        assert [(question["payload"], question["action"]) for question in asked] == [
            (None, None),  # ordered by text: N comes after [
            *(([1], {"type": "void"}), ([2], None), ([3], enqueue)),
        ]


async def test_what_goes_round_a_middleware(autojump_clock: MockClock) -> None:
    # wire 80, 111
    async with open_guarded({"middleware_function_id": PROXY}) as guarded:
        asked = guarded.script(PROXY, lambda question: question["function_id"])
        await guarded.offer("engine::of-a-worker")
        worker = await guarded.enter()
        assert "functions" in (await worker.value("engine::functions::list"))
        assert (await worker.announce())["result"] == {"success": True}
        assert asked == []
        for name in ("engine::of-a-worker", "engine::missing", "state::get"):
            assert await worker.value(name) == name
        await worker.call("engine::functions::list", namespace="a")
        assert len(asked) == 3  # the middleware itself is looked for in that namespace


async def test_a_forbidden_call_never_reaches_the_middleware(autojump_clock: MockClock) -> None:
    # 11.6: an allowed call is what it sees
    async with open_guarded({"rbac": {}, "middleware_function_id": PROXY}) as guarded:
        asked = guarded.script(PROXY)
        worker = await guarded.enter()
        assert await guarded.code(worker, "shop::x") == "FORBIDDEN"
        assert asked == []


async def test_a_middleware_that_is_not_there(autojump_clock: MockClock) -> None:
    # 11.6: in the namespace of the call
    async with open_guarded({"middleware_function_id": PROXY}) as guarded:
        await guarded.offer("shop::x")
        worker = await guarded.enter()
        error = await worker.error("shop::x")
        assert error["code"] == "function_not_found"
        assert PROXY in error["message"]
        guarded.script(PROXY)
        assert await guarded.code(worker, "shop::x") == "ok"
        assert await guarded.code(worker, "shop::x", namespace="a") == "function_not_found"


async def test_a_slow_middleware_keeps_nobody_waiting(autojump_clock: MockClock) -> None:
    async with open_guarded({"middleware_function_id": PROXY}) as guarded:
        proxy = await guarded.offer(PROXY)
        worker, other = await guarded.enter(), await guarded.enter()
        first = await worker.invoke("shop::slow")
        slow = await proxy.invoked(PROXY)
        for client in (worker, other):
            invocation_id = await client.invoke("shop::quick")
            await proxy.answer(await proxy.invoked(PROXY), result="quick")
            assert (await client.outcome(invocation_id))["result"] == "quick"
        await proxy.answer(slow, result="slow")
        assert (await worker.outcome(first))["result"] == "slow"


async def test_a_caller_that_leaves_the_middleware_alone(autojump_clock: MockClock) -> None:
    async with open_guarded({"middleware_function_id": PROXY}) as guarded:
        proxy = await guarded.offer(PROXY)
        worker = await guarded.enter()
        await worker.invoke("shop::x")
        call = await proxy.invoked(PROXY)
        await guarded.world.leave(worker)
        await proxy.answer(call, result=1)
        assert await proxy.fence() == []
        assert guarded.engine.kernel.statistics().invocations.in_flight == 0


async def test_an_error_of_the_engine_is_the_error_of_the_call(autojump_clock: MockClock) -> None:
    async with open_guarded({"middleware_function_id": PROXY}) as guarded:
        guarded.script(PROXY, refusing("LIMIT", "come back later"))
        assert (await (await guarded.enter()).error("shop::x")) == {"code": "LIMIT", "message": "come back later"}


# --- what may be known ------------------------------------------------------------------------------------------------


async def test_lists_show_what_may_be_called(autojump_clock: MockClock) -> None:
    # wire 84
    rules = ('match("shop::*")', 'match("engine::functions::*")', {"metadata": {"public": True}})
    async with open_guarded(exposing(*rules)) as guarded:
        await guarded.offer("shop::a", "shop::b", "hidden::c")
        await guarded.offer("open::d", metadata={"public": True})
        elsewhere = await guarded.world.connect(MODERN, namespace="n")
        await elsewhere.register("shop::e")
        await elsewhere.fence()
        worker = await guarded.enter()

        async def listed(**said: Any) -> list[str]:
            rows = (await worker.value("engine::functions::list", said))["functions"]
            return [row["function_id"] for row in rows]

        assert await listed() == ["open::d", "shop::a", "shop::b"]
        internal = set(await listed(include_internal=True)) - {"open::d", "shop::a", "shop::b"}
        registered = {function.id for function in guarded.engine.kernel.functions}
        assert internal == (INFRASTRUCTURE & registered) | {"engine::functions::list", "engine::functions::info"}
        assert await listed(search="hidden") == []
        rows = of_others((await elsewhere.value("engine::functions::list"))["functions"])
        everything = {row["function_id"] for row in rows}
        assert everything == {"hidden::c", "open::d", "shop::a", "shop::b", "shop::e"}


async def test_descriptions_of_what_may_be_called(autojump_clock: MockClock) -> None:
    # wire 84
    async with open_guarded(exposing('match("shop::*")', 'match("engine::functions::info")')) as guarded:
        await guarded.offer("shop::a", "hidden::c")
        worker = await guarded.enter()
        info = "engine::functions::info"
        assert (await worker.value(info, {"function_id": "shop::a"}))["function_id"] == "shop::a"
        assert (await worker.error(info, {"function_id": "hidden::c"}))["code"] == "FORBIDDEN"
        assert (await worker.error(info, {"function_id": "hidden::nothing"}))["code"] == "NOT_FOUND"
        batch = await worker.value(info, {"function_ids": ["hidden::c", "shop::a", "no::such"]})
        assert batch["functions"][0] == {"function_id": "hidden::c", "error": "forbidden"}
        assert batch["functions"][1]["function_id"] == "shop::a"
        assert batch["functions"][2] == {"function_id": "no::such", "error": "not_found"}


async def test_news_of_functions_tell_what_may_be_called(autojump_clock: MockClock) -> None:
    # 11.9, 13.8
    async with open_guarded(exposing('match("shop::*")')) as guarded:
        await guarded.offer("shop::a", "hidden::c")
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("shop::news")
        await worker.trigger("t", "engine::functions-available", "shop::news", config={})
        news = (await worker.invoked("shop::news", within=30))["data"]
        told = {row["function_id"] for row in news["functions"]}
        assert told - INFRASTRUCTURE == {"shop::a", "shop::news"}


# --- several listeners ------------------------------------------------------------------------------------------------


async def test_listeners_share_one_registry() -> None:
    # wire 75, over TCP: each keeps its own rules
    everything, nothing = exposing('match("*")'), NOTHING
    async with open_guarded(everything, nothing, network=AnyPort()) as guarded, trio.open_nursery() as nursery:
        assert len(set(guarded.engine.addresses.values())) == 3
        workers = [await guarded.enter(number, announcement=MODERN, name=f"w{number}") for number in (0, 1, 2)]
        for number, worker in enumerate(workers):
            await worker.register(f"of::{number}")
            await worker.fence()
        await _answering(workers[0], nursery)
        await _answering(workers[2], nursery)
        for callee in (0, 2):
            data = {"to": callee}
            seen = {**data, "_caller_worker_id": workers[1].id}
            assert await workers[1].value(f"of::{callee}", data) == seen
        open_caller = await guarded.enter(0)
        assert (await open_caller.value("of::2", {}))["_caller_worker_id"] == open_caller.id
        barred = await guarded.enter(2)
        assert await guarded.code(barred, "of::0") == "FORBIDDEN"
        names = [row["name"] for row in (await open_caller.value("engine::workers::list"))["workers"]]
        assert [name for name in names if name in {"w0", "w1", "w2"}] == ["w0", "w1", "w2"]
        nursery.cancel_scope.cancel()
