"""What a function receives, through real HTTP over memory streams (http.md 4 to 6)."""

import json
import re
from typing import Any

import pytest
import trio
import trio.testing
from http_rig import Rig, serving
from trio.testing import MockClock

from iii_trio.kernel import Call
from iii_trio.modules.http import HttpConfig
from iii_trio.protocol import Payload
from iii_trio.protocol.messages import RegisterTrigger, UnregisterTrigger

pytestmark = pytest.mark.usefixtures("server")

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def echo(call: Call) -> dict[str, Any]:
    return {"body": call.payload.value}


class Outlet:
    """Collects what the engine says to a worker."""

    is_full = False

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def send(self, pieces: Any, size: int) -> None:
        text = b"".join(bytes(piece) for piece in pieces)
        assert len(text) == size
        self.said.append(json.loads(text))

    def has_room(self, size: int) -> bool:
        return True

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()


def worker(rig: Rig) -> Any:
    made = rig.kernel.connect(outlet=Outlet())
    rig.kernel.registrations.fix_namespace(made, "default")
    return made


def register(rig: Rig, by: Any, trigger_id: str, config: Any, function_id: str = "f") -> None:
    message = RegisterTrigger(trigger_id, "http", function_id, config=Payload.of(config).raw)
    rig.kernel.registrations.take(by, message)


async def test_the_request_object(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/orders/:orderId/items", echo, "POST")
        answer = await rig.ask(
            "POST",
            "/orders/o%2F77/items?dry=1&tag=a&tag=b&x&y=1+2%C3%A9",
            {"Content-Type": "application/json; charset=utf-8", "X-Two": "é", "accept": "*/*"},
            b'{"sku":"X9", "qty":2}',
        )
        assert answer.status == 200
        seen = answer.json
        refs = {name: seen.pop(name) for name in ("request_body", "response")}
        assert [ref["direction"] for ref in refs.values()] == ["read", "write"]  # http 39
        assert {tuple(sorted(ref)) for ref in refs.values()} == {("access_key", "channel_id", "direction")}
        assert seen == {  # http 28, 32, 33, 34, 35, 41
            "method": "POST",
            "path": "/orders/:orderId/items",
            "path_params": {"orderId": "o%2F77"},
            "query_params": {"dry": "1", "tag": "b", "x": "", "y": "1 2é"},
            "headers": {
                "host": "h.example",
                "content-type": "application/json; charset=utf-8",
                "content-length": "21",
                "x-two": "",
                "accept": "*/*",
            },
            "body": {"sku": "X9", "qty": 2},
            "trigger": {"type": "http", "path": "/orders/:orderId/items", "method": "POST"},
        }
        assert b'"body":{"sku":"X9", "qty":2}' in bytes(rig.calls[0].payload.raw)
        assert rig.calls[0].caller is None


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/json", b"{oops", None),  # http 35
        ("application/json", b"", None),
        ("Application/JSON", b"[1]", [1]),
        ("text/plain", b"[1]", None),  # http 37
        ("application/x-www-form-urlencoded", b"a=1", None),
        (None, b"[1]", None),
    ],
)
async def test_bodies_by_content_type(kind: str | None, body: bytes, expected: Any, autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/b", echo, "POST")
        answer = await rig.ask("POST", "/b", {"content-type": kind} if kind else {}, body)
        assert (answer.status, answer.json["body"]) == (200, expected)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH"])
async def test_a_json_body_is_parsed_whatever_the_method(method: str, autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/b", echo, method.lower())  # http 15
        answer = await rig.ask(method, "/b", {"content-type": "application/json"}, b"[1]")
        assert answer.json["body"] == [1]
        assert answer.json["method"] == answer.json["trigger"]["method"] == method


async def test_a_chunked_body_is_parsed(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/b", echo, "POST")
        client = await rig.connect()
        head = b"POST /b HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n"
        await client.send(head, b"3;ext=1\r\n[1,\r\n", b"2\r\n2]\r\n", b"0\r\ntrailer: x\r\n\r\n")
        assert (await client.read()).json["body"] == [1, 2]
        assert (await client.ask("POST", "/b")).status == 200


async def test_metadata_namespace_and_trace_context_go_with_the_call(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/n", echo, namespace="shop", metadata=Payload.of({"team": "sales"}))
        rig.function("f::GET/n", "wrong namespace")
        answer = await rig.ask("GET", "/n", {"traceparent": PARENT, "baggage": "a=1, b=2"})
        call = rig.calls[0]
        assert answer.status == 200
        assert call.metadata is not None
        assert call.metadata.value == {"team": "sales"}  # http 40
        assert "metadata" not in answer.json
        assert (call.traceparent, call.baggage) == (PARENT, "a=1, b=2")  # http 88
        assert not {"traceparent", "baggage"} & {name for name, _ in answer.fields}
        await rig.ask("GET", "/n", {"traceparent": PARENT.upper(), "baggage": "a=1"})
        begun = rig.calls[1].traceparent
        assert begun is not None
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", begun)  # http 100
        assert begun[3:35] != PARENT[3:35]
        assert rig.calls[1].baggage == "a=1"
        await rig.ask("GET", "/n")
        assert rig.calls[2].traceparent not in {None, begun, PARENT}


async def test_only_the_namespace_of_the_trigger_is_searched(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("only::shop", {"body": 1}, "shop")
        rig.trigger("only::shop", "/a")
        rig.trigger("only::shop", "/b", namespace="shop")
        assert (await rig.ask("GET", "/a")).json["error"]["code"] == "function_not_found"  # http 101
        assert (await rig.ask("GET", "/b")).body == b"1"


async def test_the_old_type_name_and_condition_key_work(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("f", echo)
        rig.function("no", lambda _: False)
        rig.trigger("f", "/old", kind="api")
        rig.trigger("f", "/guarded", kind="api", _condition_path="no")
        assert (await rig.ask("GET", "/old")).json["trigger"]["type"] == "http"  # http 16
        assert (await rig.ask("GET", "/guarded")).status == 422
        assert {kind.id for kind in rig.kernel.triggers.types} == {"http"}


async def test_the_type_describes_itself(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        kind = rig.kernel.triggers.get_type("default", "http")
        assert kind is not None
        assert kind.description == "HTTP API trigger"
        assert kind.trigger_request_format is not None
        assert kind.call_request_format is not None
        assert kind.trigger_request_format.value["required"] == ["api_path"]
        assert set(kind.call_request_format.value["properties"]) == {
            "query_params",
            "path_params",
            "headers",
            "path",
            "method",
            "body",
        }


@pytest.mark.parametrize("config", [None, [], {"http_method": "GET"}, {"api_path": 5}, {"api_path": None}])
async def test_a_trigger_without_a_path_is_refused(config: Any, autojump_clock: MockClock) -> None:
    async with serving() as rig:
        one = worker(rig)
        register(rig, one, "t1", config)
        assert one.outlet.said == [  # http 17
            {
                "type": "triggerregistrationresult",
                "id": "t1",
                "trigger_type": "http",
                "function_id": "f",
                "error": {"code": "trigger_registration_failed", "message": "api_path is required for http triggers"},
            }
        ]
        assert not rig.kernel.triggers.live


@pytest.mark.parametrize("path", ["x/*rest", "x/{a", "x/:", "x/a{b}c"])
async def test_after_a_refused_path_everything_goes_on(path: str, autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("f", {"body": 1})
        one, two = worker(rig), worker(rig)
        register(rig, one, "bad", {"api_path": path})
        assert one.outlet.said[0]["error"]["code"] == "trigger_registration_failed"  # http 20
        register(rig, one, "good", {"api_path": "a"})
        register(rig, two, "other", {"api_path": "b"})
        assert [(await rig.ask("GET", at)).status for at in ("/a", "/b")] == [200, 200]  # http 96


async def test_a_conflict_is_told_and_leaves_the_first(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("f", echo)
        one = worker(rig)
        register(rig, one, "first", {"api_path": "x/:a/:b"})
        register(rig, one, "second", {"api_path": "x/:b/:a"})
        assert "conflicts with already-registered route" in one.outlet.said[0]["error"]["message"]  # http 18
        assert [trigger.id for trigger in rig.kernel.triggers.live] == ["first"]
        assert (await rig.ask("GET", "/x/1/2")).json["path_params"] == {"a": "1", "b": "2"}


async def test_a_route_lives_as_long_as_its_trigger(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("f", {"body": "f"})
        rig.function("g", {"body": "g"})
        one, two = worker(rig), worker(rig)
        register(rig, one, "a", {"api_path": "gone"})
        register(rig, one, "b", {"api_path": "left", "description": "d", "metadata": {}})  # http 21
        register(rig, one, "c", {"api_path": "shared"})
        register(rig, one, "d", {"api_path": "/old"})
        register(rig, two, "e", {"api_path": "/shared"}, "g")
        register(rig, one, "d", {"api_path": "/new"})
        rig.kernel.registrations.take(one, UnregisterTrigger("a"))
        assert (await rig.ask("GET", "/gone")).status == 404  # http 22
        assert (await rig.ask("GET", "/left")).status == 200
        assert (await rig.ask("GET", "/shared")).body == b'"g"'
        assert [(await rig.ask("GET", at)).status for at in ("/old", "/new")] == [404, 200]  # http 24
        rig.kernel.disconnect(one)
        assert (await rig.ask("GET", "/left")).status == 404  # http 22
        assert (await rig.ask("GET", "/shared")).body == b'"g"'  # http 23


async def test_an_unsupported_method_is_accepted_and_never_reached(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.function("f", {"body": 1})
        one = worker(rig)
        for number, method in enumerate(["TRACE", "", " GET"]):
            register(rig, one, f"t{number}", {"api_path": "a", "http_method": method})
        assert not one.outlet.said
        assert "Unsupported HTTP method: TRACE" in caplog.text  # http 25
        assert [(await rig.ask(method, "/a")).status for method in ("TRACE", "GET")] == [404, 404]
        register(rig, one, "put", {"api_path": "a", "http_method": "PUT"})
        answer = await rig.ask("TRACE", "/a")
        assert (answer.status, answer["allow"]) == (405, "PUT")
        assert not rig.calls


async def test_a_method_that_is_no_text_means_get(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("f", {"body": 1})
        one = worker(rig)
        register(rig, one, "a", {"api_path": "num", "http_method": 5})
        register(rig, one, "b", {"api_path": "none", "condition_function_id": 5, "middleware_function_ids": [5, None]})
        assert [(await rig.ask("GET", at)).status for at in ("/num", "/none")] == [200, 200]  # http 15


@pytest.mark.parametrize(
    ("limit", "headers", "body", "status"),
    [
        (10, {}, b"x" * 10, 200),
        (10, {}, b"x" * 11, 413),  # http 91
        (10, {"content-type": "application/json"}, b'"123456789"', 413),
        (11, {"content-type": "application/json"}, b'"123456789"', 200),
        (None, {"content-type": "application/json"}, b'"' + b"x" * (20 << 20) + b'"', 200),
    ],
)
async def test_the_body_limit(
    limit: int | None, headers: dict[str, str], body: bytes, status: int, autojump_clock: MockClock
) -> None:
    async with serving(HttpConfig(body_limit=limit)) as rig:
        rig.route("/up", lambda call: {"body": len(call.payload.value["body"] or "")}, "POST")
        answer = await rig.ask("POST", "/up", headers, body)
        assert answer.status == status
        if status == 413:
            assert answer.json["error"]["code"] == "PAYLOAD_TOO_LARGE"
            assert not rig.calls


async def test_the_body_limit_holds_for_chunks(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(body_limit=4)) as rig:
        rig.route("/up", {"body": 1}, "POST")
        client = await rig.connect()
        chunk = b"%x\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))
        await client.send(b"POST /up HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n", b"3\r\nabc\r\n", chunk)
        assert (await client.read()).status == 413
        assert await client.ends()
        assert not rig.calls


async def test_a_json_body_beyond_the_hard_limit_is_refused_by_its_announcement(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/up", {"body": 1}, "POST")
        answer = await rig.ask(
            "POST", "/up", {"content-type": "application/json", "content-length": str((64 << 20) + 1)}, b"["
        )
        assert answer.status == 413
        assert not rig.calls
