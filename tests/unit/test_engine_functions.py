"""The engine's own functions about functions, their input and their schemas, over a kernel in memory."""

import pytest
from engine_functions_world import BUILT_IN, ids, open_world
from msgspec import Raw

from iii_trio.protocol import Payload
from iii_trio.protocol.errors import InvalidArguments, NotFound


async def test_functions_list_hides_what_is_internal():  # wire 93
    async with open_world() as world:
        worker = world.worker("orders")
        for function_id in ("orders::b", "orders::a", "engine::console::x", "engine::queue::y"):
            world.offers(worker, function_id)
        world.offers(worker, "orders::secret", metadata={"internal": True})
        world.offers(worker, "orders::open", metadata={"internal": "yes"})
        assert ids(await world.ask("functions::list")) == ["engine::queue::y", "orders::a", "orders::b", "orders::open"]
        everything = ids(await world.ask("functions::list", {"include_internal": True}))
        assert everything == sorted([*BUILT_IN, "engine::console::x", "engine::queue::y", "orders::secret", "orders::open", "orders::a", "orders::b"])  # fmt: skip


async def test_functions_list_rows_name_owner_and_namespace():  # wire 93
    async with open_world() as world:
        world.offers(
            world.worker("orders"), "o::f", description="d", metadata={"a": 1}, request_format={"type": "object"}
        )
        world.offers(world.worker(None, namespace="eu"), "named::after::me")
        assert (await world.ask("functions::list"))["functions"] == [
            {"function_id": "named::after::me", "worker_name": "named", "namespace": "eu"},
            {
                "function_id": "o::f",
                "worker_name": "orders",
                "namespace": "default",
                "description": "d",
                "metadata": {"a": 1},
            },
        ]


async def test_functions_list_filters():  # wire 93
    async with open_world() as world:
        a, b, c = world.worker("wa"), world.worker("wb"), world.worker("wc")
        world.offers(a, "x::one", description="Sends MAIL")
        world.offers(b, "y::two")
        world.offers(c, "z::three")

        async def listed(**asked):
            return ids(await world.ask("functions::list", asked))

        everything = ["x::one", "y::two", "z::three"]
        assert await listed(worker="wa") == ["x::one"]
        assert await listed(workers=["wb"], worker="wc") == ["y::two", "z::three"]
        assert await listed(workers=[], search="") == everything
        assert await listed(prefix="y") == ["y::two"]
        assert await listed(search="mail") == ["x::one"]
        assert await listed(search="T", prefix="z") == ["z::three"]
        assert await listed(worker="nobody") == []
        assert await listed(namespace="zz", unknown=1) == everything


async def test_functions_list_search_puts_the_best_matches_first():  # wire 93
    async with open_world() as world:
        worker = world.worker("w")
        world.offers(worker, "a::described", description="about pay day")
        world.offers(worker, "a::repay")
        world.offers(worker, "b::PAY::x")
        world.offers(worker, "payments::z")
        world.offers(worker, "a::other")
        answer = await world.ask("functions::list", {"search": "pay"})
        assert ids(answer) == ["b::PAY::x", "payments::z", "a::repay", "a::described"]


@pytest.mark.parametrize(("version", "schema"), [("0.9.0", None), ("0.12.1", {"type": "object"})])
async def test_functions_list_speaks_to_old_sdks_in_their_shape(version, schema):  # wire 95
    async with open_world() as world:
        old = world.worker("old", version=version)
        world.offers(old, "o::f", request_format={"type": "object"}, metadata={"internal": True})
        world.offers(old, "o::typed", response_format={"name": "r", "type": "string"})
        world.offers(old, "engine::queue::mine")
        answer = await world.ask("functions::list", {"search": "not known then"}, caller=old)
        empty = {"description": None, "request_format": None, "response_format": None, "metadata": None}
        assert answer["functions"] == [
            {**empty, "function_id": "o::f", "request_format": schema, "metadata": {"internal": True}},
            {**empty, "function_id": "o::typed", "response_format": {"name": "r", "type": "string"}},
        ]


@pytest.mark.parametrize("version", ["0.13.0", "1.0", None, "unreadable"])
async def test_functions_list_speaks_to_everybody_else_in_the_new_shape(version):  # wire 93
    async with open_world() as world:
        new = world.worker("new", version=version)
        world.offers(new, "n::f")
        answer = await world.ask("functions::list", caller=new)
        assert answer["functions"] == [{"function_id": "n::f", "worker_name": "new", "namespace": "default"}]


async def test_lists_pass_on_json_that_cannot_be_read():
    async with open_world() as world:
        worker = world.worker("w", version="0.9.0")
        world.offers(worker, "w::f")
        trigger = {"id": "t", "trigger_type": "engine::workers-available", "function_id": "w::f"}
        world.say(worker, {"type": "registertrigger", **trigger})
        deep = b"[" * 3000 + b"]" * 3000
        function = world.kernel.functions.find("default", "w::f")
        function.metadata = function.request_format = world.kernel.triggers.get("t").config = Payload(Raw(deep))
        for asked, caller, found in (
            ("functions::list", None, deep),
            ("functions::list", worker, deep),
            ("functions::info", None, b'"request_schema":' + deep),
            ("registered-triggers::list", None, b'"config_summary":"' + b"[" * 80 + "…".encode()),
        ):
            payload = await world.kernel.bus.invoke(f"engine::{asked}", {"function_id": "w::f"}, caller=caller)
            assert found in bytes(payload.raw)


async def test_functions_info_describes_one_function():  # wire 94
    async with open_world() as world:
        worker = world.worker("orders")
        world.offers(
            worker, "o::f", description="d", request_format={"type": "object"}, response_format=True, metadata=[1]
        )
        world.offers(worker, "o::bare")
        for trigger_id in ("t2", "t1"):
            world.say(
                worker,
                {"type": "registertrigger", "id": trigger_id, "trigger_type": "engine::workers-available", "function_id": "o::f", "config": {"a": 1}},
            )  # fmt: skip
        world.say(
            worker,
            {"type": "registertrigger", "id": "parked", "trigger_type": "none", "function_id": "o::f", "config": 1},
        )
        assert await world.ask("functions::info", {"function_id": "o::f"}) == {
            "function_id": "o::f",
            "namespace": "default",
            "worker_name": "orders",
            "description": "d",
            "request_schema": {"type": "object"},
            "response_schema": True,
            "metadata": [1],
            "registered_triggers": [
                {"id": "t1", "trigger_type": "engine::workers-available", "config": {"a": 1}},
                {"id": "t2", "trigger_type": "engine::workers-available", "config": {"a": 1}},
            ],
        }
        bare = await world.ask("functions::info", {"function_id": "o::bare"})
        assert bare == {
            "function_id": "o::bare",
            "namespace": "default",
            "worker_name": "orders",
            "registered_triggers": [],
        }


async def test_functions_info_shows_the_latest_registration():  # wire 21
    async with open_world() as world:
        worker = world.worker("w")
        world.offers(worker, "w::f", description="first")
        world.offers(worker, "w::f", description="second")
        assert (await world.ask("functions::info", {"function_id": "w::f"}))["description"] == "second"


async def test_functions_info_answers_a_batch_in_order():  # wire 94
    async with open_world() as world:
        worker = world.worker("w")
        world.offers(worker, "w::a")
        world.offers(worker, "w::b")
        answer = await world.ask("functions::info", {"function_ids": ["w::b", "nope", "w::a", "w::b"]})
        assert ids(answer) == ["w::b", "nope", "w::a"]
        assert answer["functions"][1] == {"function_id": "nope", "error": "not_found"}
        many = await world.ask("functions::info", {"function_ids": [f"f{number % 32}" for number in range(64)]})
        assert len(many["functions"]) == 32


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"function_id": "w::a", "function_ids": ["w::a"]},
        {"function_ids": []},
        {"function_ids": [f"f{number}" for number in range(33)]},
    ],
)
async def test_functions_info_refuses_senseless_arguments(asked):  # wire 94
    async with open_world() as world:
        with pytest.raises(InvalidArguments):
            await world.ask("functions::info", asked)


async def test_functions_info_finds_the_namespace():
    async with open_world() as world:
        a, b, home = world.worker("wa", namespace="a"), world.worker("wb", namespace="b"), world.worker("w")
        world.offers(a, "f::both")
        world.offers(b, "f::both")
        world.offers(a, "f::one")
        world.offers(b, "f::home")
        world.offers(home, "f::home")

        async def namespace(**asked):
            return (await world.ask("functions::info", asked))["namespace"]

        assert await namespace(function_id="f::one") == "a"
        assert await namespace(function_id="f::home") == "default"
        assert await namespace(function_id="f::both", namespace="b") == "b"
        for asked in ({}, {"namespace": "zz"}, {"namespace": " "}):
            with pytest.raises(NotFound, match=r"namespace\(s\): a, b"):
                await world.ask("functions::info", {"function_id": "f::both", **asked})
        with pytest.raises(NotFound, match="nope"):
            await world.ask("functions::info", {"function_id": "nope"})
