"""Middleware of HTTP routes, global and per route, through real HTTP in virtual time (http.md 8, 10)."""

from typing import Any

import pytest
import trio
from http_rig import Rig, serving
from trio.testing import MockClock

from iii_trio.kernel import Call, Limits
from iii_trio.modules.http import HttpConfig, MiddlewareConfig
from iii_trio.protocol.errors import InvocationError

pytestmark = pytest.mark.usefixtures("server")

GO_ON = {"action": "continue"}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def stop(response: Any = None, **more: Any) -> Any:
    return {"action": "respond", "response": response, **more}


def everywhere(*entries: tuple[str, int], **more: Any) -> HttpConfig:
    return HttpConfig(middleware=tuple(MiddlewareConfig(name, priority=at) for name, at in entries), **more)


def called(rig: Rig) -> list[str]:
    return [call.function_id for call in rig.calls]


async def forever(_: Call) -> None:
    await trio.sleep_forever()


# --- order and input ----------------------------------------------------------------------------------------------------


async def test_middleware_of_a_route_runs_in_its_order_before_the_handler(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("m::one", GO_ON)
        rig.function("m::two", GO_ON)
        rig.route("/items/:id", {"body": 1}, "POST", middleware_function_ids=["m::two", 5, "m::one", "m::two"])
        answer = await rig.ask("POST", "/items/7?q=x&q=y", {"content-type": "application/json", "X-A": "1"}, b"[1]")
        assert answer.body == b"1"
        assert called(rig) == ["m::two", "m::one", "m::two", "f::POST/items/:id"]  # http 69
        headers = {"host": "h.example", "content-length": "3", "content-type": "application/json", "x-a": "1"}
        assert rig.calls[0].payload.value == {
            "phase": "preHandler",
            "request": {
                "method": "POST",
                "path_params": {"id": "7"},
                "query_params": {"q": "y"},
                "headers": headers,
            },
            "context": {},
        }
        assert rig.calls[0].payload == rig.calls[2].payload


async def test_global_middleware_runs_by_priority_before_condition_and_route(autojump_clock: MockClock) -> None:
    config = everywhere(("g::late", 10), ("g::first", -5), ("g::second", -5))
    async with serving(config) as rig:
        for name in ("g::late", "g::first", "g::second", "m::own"):
            rig.function(name, GO_ON)
        rig.function("c", lambda _: True)
        rig.route("/a", {"body": 1}, condition_function_id="c", middleware_function_ids=["m::own"])
        await rig.ask("GET", "/a")
        assert called(rig) == ["g::first", "g::second", "g::late", "c", "m::own", "f::GET/a"]  # http 71


async def test_global_middleware_runs_on_matched_routes_only(autojump_clock: MockClock) -> None:
    async with serving(everywhere(("g", 0))) as rig:
        rig.function("g", stop({"status_code": 401}))
        rig.route("/a", {"body": 1})
        asked = [("GET", "/nowhere"), ("POST", "/a"), ("OPTIONS", "/a"), ("HEAD", "/a"), ("GET", "/a")]
        statuses = [(await rig.ask(method, path)).status for method, path in asked]
        assert statuses == [404, 405, 200, 404, 401]
        assert called(rig) == ["g"]  # http 71


async def test_middleware_shares_the_trace_and_has_no_metadata(autojump_clock: MockClock) -> None:
    async with serving(everywhere(("g", 0))) as rig:
        rig.function("g", GO_ON)
        rig.function("m", GO_ON)
        rig.function("c", lambda _: True)
        rig.route("/a", {"body": 1}, condition_function_id="c", middleware_function_ids=["m"])
        await rig.ask("GET", "/a", {"traceparent": PARENT, "baggage": "a=1"})
        assert {(call.traceparent, call.baggage) for call in rig.calls} == {(PARENT, "a=1")}  # http 88
        assert all(call.metadata is None for call in rig.calls)
        await rig.ask("GET", "/a")
        assert len({call.traceparent for call in rig.calls[4:]}) == 1


async def test_middleware_is_looked_up_in_the_namespace_of_its_route(autojump_clock: MockClock) -> None:
    async with serving(everywhere(("g", 0))) as rig:
        rig.function("g", stop({"body": "default"}))
        rig.function("g", GO_ON, "shop")
        rig.function("m", stop({"body": "shop"}), "shop")
        rig.route("/shop", {"body": 1}, namespace="shop", middleware_function_ids=["m"])
        rig.route("/none", {"body": 1}, middleware_function_ids=["m"])
        assert (await rig.ask("GET", "/shop")).json == "shop"  # http 77
        assert (await rig.ask("GET", "/none")).json == "default"


async def test_middleware_registered_later_counts(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1}, middleware_function_ids=["m"])
        assert (await rig.ask("GET", "/a")).status == 500
        rig.function("m", GO_ON)
        assert (await rig.ask("GET", "/a")).status == 200


# --- results ------------------------------------------------------------------------------------------------------------


async def test_a_middleware_that_responds_ends_it(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        answer = {"status_code": 403, "body": {"no": 1}, "headers": {"WWW-Authenticate": "Bearer", "x-bad": "a\r\nb"}}
        rig.function("m::no", stop(answer, context={"user": 1}))
        rig.function("m::later", GO_ON)
        rig.route("/a", {"body": 1}, middleware_function_ids=["m::no", "m::later"])
        got = await rig.ask("GET", "/a")
        assert (got.status, got.body) == (403, b'{"no":1}')
        assert got["www-authenticate"] == "Bearer"
        assert got["content-type"] == "application/json"
        assert got["access-control-allow-origin"] == "*"
        assert not got.all("x-bad")
        assert called(rig) == ["m::no"]  # http 70


@pytest.mark.parametrize(
    ("response", "status", "kind", "body"),
    [
        ({"body": "hi"}, 200, "application/json", b'"hi"'),
        ({"body": "hi", "headers": {"Content-Type": "text/plain"}}, 200, "text/plain", b'"hi"'),
        ({"status_code": 401}, 401, "application/json", b"null"),
        ({"status_code": "401"}, 200, "application/json", b"null"),
        ({"status_code": 1000}, 200, "application/json", b"null"),
        (None, 200, "application/json", b"null"),
        ("odd", 200, "application/json", b"null"),
        ({"headers": ["x-a: 1"], "body": 1}, 200, "application/json", b"1"),
    ],
)
async def test_the_answer_of_a_middleware(
    response: Any, status: int, kind: str, body: bytes, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.function("m", stop(response))
        rig.route("/a", {"body": 1}, middleware_function_ids=["m"])
        got = await rig.ask("GET", "/a")
        assert (got.status, got["content-type"], got.body) == (status, kind, body)
        assert not got.all("x-a")


async def test_headers_with_a_value_that_is_no_text_are_left_out_altogether(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("m", stop({"status_code": 401, "headers": {"x-a": "1", "x-b": 2}, "body": 1}))
        rig.route("/a", {"body": 1}, middleware_function_ids=["m"])
        got = await rig.ask("GET", "/a")
        assert (got.status, got.body, got.all("x-a"), got.all("x-b")) == (401, b"1", [], [])  # http 74


async def test_a_middleware_cannot_answer_with_what_is_no_final_answer(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("m", stop({"status_code": 150}))
        rig.route("/a", {"body": 1}, middleware_function_ids=["m"])
        client = await rig.connect()
        assert (await client.ask("GET", "/a")).status == 500
        assert await client.ends()


@pytest.mark.parametrize("result", [None, {}, "continue", [], {"action": "RESPOND"}, {"action": None}, 5])
async def test_whatever_else_a_middleware_returns_lets_the_request_through(
    result: Any, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.function("m::vague", lambda _: result)
        rig.route("/a", {"body": 1}, middleware_function_ids=["m::vague"])
        assert (await rig.ask("GET", "/a")).body == b"1"  # http 72
        assert "the middleware m::vague returned no action" in caplog.text


async def test_what_a_middleware_returns_beside_its_action_goes_nowhere(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("m", {**GO_ON, "context": {"user": 1}, "request": {"headers": {"x": "1"}}})
        rig.route("/a", lambda call: {"body": call.payload.value}, middleware_function_ids=["m", "m"])
        got = (await rig.ask("GET", "/a")).json
        assert "context" not in got
        assert got["headers"] == {"host": "h.example"}
        assert rig.calls[1].payload.value["context"] == {}


# --- failures -----------------------------------------------------------------------------------------------------------


async def test_a_middleware_that_fails_is_500_with_its_code(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fail(_: Call) -> Any:
        raise InvocationError("no database", code="DB")

    async with serving(everywhere(("g", 0))) as rig:
        rig.function("g", GO_ON)
        rig.function("m::fails", fail)
        rig.route("/a", {"body": 1}, middleware_function_ids=["m::fails"])
        got = await rig.ask("GET", "/a")
        error = got.json["error"]
        assert (got.status, error["code"], error["message"]) == (500, "DB", "no database")  # http 73
        assert error["error_id"] in caplog.text
        assert "m::fails failed with DB" in caplog.text
        assert called(rig) == ["g", "m::fails"]


@pytest.mark.parametrize("config", [everywhere(("missing", 0)), HttpConfig()])
async def test_a_middleware_that_is_not_there_is_500(config: HttpConfig, autojump_clock: MockClock) -> None:
    async with serving(config) as rig:
        rig.route("/a", {"body": 1}, middleware_function_ids=["missing"])
        got = await rig.ask("GET", "/a")
        assert (got.status, got.json["error"]["code"]) == (500, "function_not_found")  # http 73
        assert called(rig) == []


async def test_a_middleware_that_the_engine_has_no_room_for_is_503(autojump_clock: MockClock) -> None:
    async with serving(everywhere(("g", 0))) as rig:
        rig.function("g", GO_ON)
        rig.route("/a", {"body": 1})
        rig.kernel.bus.limits = Limits(in_all=0)
        got = await rig.ask("GET", "/a")
        assert (got.status, got.json["error"]["code"]) == (503, "overloaded")


@pytest.mark.parametrize("is_global", [True, False])
async def test_a_middleware_that_is_too_slow_is_504_with_its_name_in_the_body(
    is_global: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving(everywhere(*[("slow", 0)] if is_global else [], default_timeout=300)) as rig:
        rig.function("slow", forever)
        rig.route("/a", {"body": 1}, middleware_function_ids=["slow"])
        before = trio.current_time()
        got = await rig.ask("GET", "/a")
        assert trio.current_time() - before == pytest.approx(0.3)
        assert got.status == 504  # http 73
        assert got.json == {"error": {"code": "MIDDLEWARE_TIMEOUT", "message": "Middleware timeout"}}
        assert "GET /a: 504 after 300 ms, no answer from slow" in caplog.text
        assert called(rig) == ["slow"]


async def test_time_that_middleware_took_is_time_the_handler_has_not(autojump_clock: MockClock) -> None:
    async def two_tenths(_: Call) -> Any:
        await trio.sleep(0.2)
        return GO_ON

    async with serving(HttpConfig(default_timeout=300)) as rig:
        rig.function("m", two_tenths)
        rig.route("/a", forever, middleware_function_ids=["m"])
        before = trio.current_time()
        got = await rig.ask("GET", "/a")
        assert trio.current_time() - before == pytest.approx(0.3)
        assert (got.status, got.body) == (504, b"")


async def test_a_client_that_leaves_during_middleware_costs_no_handler(autojump_clock: MockClock) -> None:
    asked = trio.Event()

    async def wait(_: Call) -> Any:
        asked.set()
        await trio.sleep(5)
        return GO_ON

    async with serving() as rig:
        rig.function("m", wait)
        rig.route("/a", {"body": 1}, middleware_function_ids=["m"])
        client = await rig.connect()
        await client.send(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n")
        await asked.wait()
        await client.stream.aclose()
        await trio.sleep(10)
        assert called(rig) == ["m"]


# --- what has been sent of the body -------------------------------------------------------------------------------------


async def test_a_global_refusal_comes_before_the_body_is_asked_for(autojump_clock: MockClock, server: str) -> None:
    async with serving(everywhere(("g", 0))) as rig:
        rig.function("g", stop({"status_code": 401}))
        rig.route("/a", {"body": 1}, "POST")
        client = await rig.connect()
        head = b"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
        await client.send(head)
        first = await client.read()
        if server == "hypercorn":  # it invites every body at once (docs/differences.md)
            assert first.status == 100
            first = await client.read()
        assert first.status == 401


async def test_an_upload_that_a_middleware_refuses_leaves_the_connection_usable(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("m", stop({"status_code": 403}))
        rig.route("/a", {"body": 1}, "POST", middleware_function_ids=["m"])
        rig.route("/b", {"body": 2})
        client = await rig.connect()
        assert (await client.ask("POST", "/a", {"content-type": "text/plain"}, b"x" * 100_000)).status == 403
        assert (await client.ask("GET", "/b")).body == b"2"
        assert rig.kernel.channels.statistics().open == 0
