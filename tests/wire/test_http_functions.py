"""Functions that are HTTP endpoints, over TCP: what is sent, and what each answer means (wire-protocol 6.1, 6.2)."""

import hashlib
import hmac
import json
import logging
import uuid
from base64 import b64encode
from functools import partial
from typing import Any

import pytest
import trio
from endpoint import Script, answer, open_endpoint
from http_functions_rig import ANYTHING, Scene, configured, error, open_scene
from msgspec import Raw
from wire_client import BINARY, LEGACY, MODERN, frame, open_world

from iii_trio.kernel import Kernel, ModuleOwner, TrioClock
from iii_trio.modules.http_functions import HttpFunctionsConfig, HttpFunctionsModule, SecurityConfig
from iii_trio.protocol.messages import RegisterFunction
from tests.waiting import eventually

# --- the request ------------------------------------------------------------------------------------------------------


async def test_the_payload_is_posted_as_json() -> None:  # wire 43, 31
    async with open_scene(run=answer("200 OK", b'{"total":29.7}')) as scene:
        await scene.register("shop::price", "/run?q=1", headers={"X-Tenant": "t1"})
        call = await scene.caller.invoke("shop::price", {"sku": "A-7"})
        assert (await scene.caller.outcome(call))["result"] == {"total": 29.7}
        (seen,) = scene.endpoint.seen
        assert (seen.method, seen.target) == ("POST", "/run?q=1")
        assert seen.json == {"sku": "A-7", "_caller_worker_id": scene.caller.id}
        assert seen.headers["content-type"] == "application/json"
        assert seen.headers["x-iii-function-path"] == "shop::price"
        assert seen.headers["x-tenant"] == "t1"
        assert seen.headers["host"] == f"127.0.0.1:{scene.endpoint.port}"
        assert seen.headers["accept"] == "*/*"
        assert uuid.UUID(seen.headers["x-iii-invocation-id"]).version == 4
        assert seen.headers["x-iii-invocation-id"] != call
        assert abs(int(seen.headers["x-iii-timestamp"]) - scene.world.engine.kernel.clock.now()) < 60
        assert set(seen.headers) == {
            *("host", "accept", "content-type", "content-length", "x-tenant"),
            *("x-iii-function-path", "x-iii-invocation-id", "x-iii-timestamp"),
        }


@pytest.mark.parametrize("data", [[1], "text", 7, None])
async def test_what_is_no_object_is_posted_unchanged(data: Any) -> None:  # wire 31
    async with open_scene() as scene:
        await scene.register()
        await scene.caller.outcome(await scene.caller.invoke("f", data))
        assert scene.endpoint.seen[0].json == data


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST", None])
async def test_the_configured_method(method: str | None) -> None:  # wire 44
    async with open_scene() as scene:
        assert await scene.call("/", [1], method=method) == {"result": {"ok": True}}
        assert [(seen.method, seen.body) for seen in scene.endpoint.seen] == [(method or "POST", b"[1]")]


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ({"type": "bearer", "token_key": "TOKEN"}, "authorization", "Bearer tok-1"),
        ({"type": "api_key", "header": "X-Api", "value_key": "KEY"}, "x-api", "key-1"),
        (
            {"type": "basic", "username_key": "USER", "password_key": "PASSWORD"},
            "authorization",
            f"Basic {b64encode(b'ann:pa:ss').decode()}",
        ),
    ],
)
async def test_secrets_come_from_the_environment(auth: dict[str, str], name: str, value: str) -> None:  # wire 45
    async with open_scene() as scene:
        assert await scene.call("/", auth=auth) == {"result": {"ok": True}}
        assert scene.endpoint.seen[0].all(name) == [value]


async def test_the_signature_verifies() -> None:  # wire 45
    async with open_scene() as scene:
        await scene.call("/", {"a": "é"}, auth={"type": "hmac", "secret_key": "SECRET"})
        (seen,) = scene.endpoint.seen
        signed = seen.headers["x-iii-timestamp"].encode() + b":" + b64encode(seen.body)
        assert seen.headers["x-iii-signature"] == "sha256=" + hmac.new(b"sec-1", signed, hashlib.sha256).hexdigest()


async def test_credentials_of_the_url_are_basic_authentication() -> None:
    async with open_scene() as scene:
        url = scene.endpoint.url("/").replace("://", "://an%20n:s3@")
        assert await scene.call("/", url=url) == {"result": {"ok": True}}
        assert await scene.call("/", url=url, headers={"Authorization": "Own x"}) == {"result": {"ok": True}}
        basic = f"Basic {b64encode(b'an n:s3').decode()}"
        assert [seen.all("authorization") for seen in scene.endpoint.seen] == [[basic], ["Own x"]]


async def test_a_configured_content_type_replaces_ours() -> None:  # wire 108
    async with open_scene() as scene:
        await scene.call("/", headers={"Content-Type": "text/x", "Accept": "text/y", "Host": "own.test", "x-a": " b "})
        (seen,) = scene.endpoint.seen
        found = [seen.all(name) for name in ("content-type", "accept", "host", "x-a")]
        assert found == [["text/x"], ["text/y"], ["own.test"], ["b"]]


async def test_a_configured_header_stands_beside_authentication() -> None:
    async with open_scene() as scene:
        await scene.call("/", headers={"authorization": "Own x"}, auth={"type": "bearer", "token_key": "TOKEN"})
        assert scene.endpoint.seen[0].all("authorization") == ["Own x", "Bearer tok-1"]


@pytest.mark.parametrize(
    "headers", [{"a b": "1"}, {"": "1"}, {"a": "1\r\nb: 2"}, {"a": "\x00"}, {"Content-Length": "3"}]
)
async def test_a_header_that_cannot_be_sent_fails_the_call(headers: dict[str, str]) -> None:
    async with open_scene() as scene:
        assert (await scene.call("/", headers=headers))["error"]["code"] == "http_request_failed"
        assert scene.endpoint.seen == []


# --- the answer -------------------------------------------------------------------------------------------------------


X = b'{"error":{"code":"X","message":"m","stacktrace":"s"}}'
ANSWERS: dict[str, tuple[Script, dict[str, Any]]] = {
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", {}),
    "empty": (answer("200 OK"), {}),
    "null": (answer("200 OK", b"null"), {"result": None}),
    "number": (answer("201 Created", b" 7 "), {"result": 7}),
    "json whatever its type": (answer("200 OK", b'{"a":1}', kind="text/plain"), {"result": {"a": 1}}),
    "text": (answer("200 OK", b"hello"), error("invalid_response", "the endpoint answered 200 with a body that is not JSON")),
    "NaN": (answer("200 OK", b"NaN"), error("invalid_response", "the endpoint answered 200 with a body that is not JSON")),
    "no UTF-8": (answer("200 OK", b'"\xff"'), error("invalid_response", "the endpoint answered 200 with a body that is not JSON")),
    "302": (answer("302 Found", b"", "location: /elsewhere"), {}),
    "302 with JSON": (answer("302 Found", b'{"r":1}', "location: /elsewhere"), {"result": {"r": 1}}),
    "302 with null": (answer("302 Found", b"null"), {"result": None}),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", {}),
    "100 before": (b"HTTP/1.1 100 Continue\r\n\r\n" + answer("200 OK", b"1"), {"result": 1}),
    "500 with both": (answer("500 X", X), error("X", "m")),
    "500 with a code": (answer("500 X", b'{"error":{"code":"X"}}'), error("X", "HTTP request failed")),
    "500 with a message": (answer("500 X", b'{"error":{"message":"only"}}'), error("http_error", "only")),
    "500 with numbers": (answer("500 X", b'{"error":{"code":5,"message":6}}'), error("http_error", "HTTP request failed")),
    "500 with a text": (answer("500 X", b'{"error":"text"}'), error("http_error", "HTTP request failed")),
    "500 otherwise": (answer("500 Whatever", b"oops"), error("http_error", "HTTP 500 Internal Server Error")),
    "404 empty": (answer("404 Not Found"), error("http_error", "HTTP 404 Not Found")),
    "400 flat": (answer("400 X", b'{"code":"FLAT"}'), error("http_error", "HTTP 400 Bad Request")),
    "400 array": (answer("400 X", b'["error"]'), error("http_error", "HTTP 400 Bad Request")),
    "599": (answer("599 Odd"), error("http_error", "HTTP 599")),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
async def test_the_table_of_answers(case: str) -> None:  # wire 46  # http 94
    script, expected = ANSWERS[case]
    async with open_scene(x=script) as scene:
        assert await scene.call("/x") == expected
        assert len(scene.endpoint.seen) == 1


async def test_a_switch_of_protocols_is_no_error_and_ends_the_connection() -> None:  # wire 46
    switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    async with open_scene(x=switch) as scene:
        assert await scene.call("/x", headers={"Connection": "upgrade", "Upgrade": "x"}) == {}
        assert (await scene.call("/x"))["error"]["code"] == "http_request_failed"
        await eventually(lambda: scene.endpoint.open == 0)


async def chunked(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for piece in (b'3\r\n{"a\r\n', b'4;x=y\r\n":1}\r\n', b"0\r\ntrailer: t\r\n\r\n"):
        await stream.send_all(piece)


async def until_the_end(stream: trio.abc.Stream) -> None:
    await stream.send_all(b'HTTP/1.0 200 OK\r\n\r\n{"b":')
    await stream.send_all(b"2}")


@pytest.mark.parametrize(("script", "value"), [(chunked, {"a": 1}), (until_the_end, {"b": 2})])
async def test_a_body_in_pieces(script: Script, value: Any) -> None:  # wire 46
    async with open_scene(x=script) as scene:
        assert await scene.call("/x") == {"result": value}


async def hang(stream: trio.abc.Stream) -> None:
    """Say nothing more until the engine goes away."""
    assert await stream.receive_some(1) == b""


async def say_nothing(_: trio.abc.Stream) -> None:
    await trio.lowlevel.checkpoint()


HALVES: dict[str, tuple[bytes, str]] = {
    "no answer": (b"", "http_request_failed"),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-", "http_request_failed"),
    "no HTTP": (b"SSH-2.0-x\r\n\r\n", "http_request_failed"),
    "an endless head": (b"HTTP/1.1 200 OK\r\nx: " + bytes(200_000).replace(b"\0", b"x"), "http_request_failed"),
    "half a body": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "http_response_failed"),
    "half an error's body": (b'HTTP/1.1 500 X\r\ncontent-length: 99\r\n\r\n{"error', "http_response_failed"),
    "half a chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{}", "http_response_failed"),
    "no chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "http_response_failed"),
}


@pytest.mark.parametrize("case", HALVES)
async def test_an_answer_that_breaks_off(case: str) -> None:  # wire 46
    sent, code = HALVES[case]

    async def cut(stream: trio.abc.Stream) -> None:
        if sent:
            await stream.send_all(sent)

    async with open_scene(x=cut) as scene:
        failed = await scene.call("/x")
        assert failed["error"]["code"] == code
        assert failed["error"]["message"]


async def test_an_answer_that_is_too_large() -> None:
    async def flood(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        while True:
            await stream.send_all(piece)

    async with open_scene(x=flood) as scene:
        assert await scene.call("/x") == error("http_response_failed", "the answer has more than 16777216 bytes")
        await eventually(lambda: scene.endpoint.open == 0)


async def test_a_refused_connection() -> None:  # wire 46  # http 94
    async with open_scene() as scene:
        async with open_endpoint() as gone:
            url = gone.url()
        failed = (await scene.call("/", url=url))["error"]
        assert failed["code"] == "http_request_failed"
        assert "connect" in failed["message"]


async def test_a_timeout_before_and_in_the_answer() -> None:  # wire 46
    async def halting(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}")
        await hang(stream)

    async with open_scene(silent=hang, halting=halting) as scene:
        text = "the request timed out after 50 ms"
        assert await scene.call("/silent", timeout_ms=50) == error("http_request_failed", text)
        assert await scene.call("/halting", timeout_ms=50) == error("http_response_failed", text)
        assert await scene.call("/silent", timeout_ms=0) == error(
            "http_request_failed", "the request timed out after 0 ms"
        )
        await eventually(lambda: scene.endpoint.open == 0)


async def test_another_scheme_fails_when_called() -> None:  # config 17
    async with open_scene() as scene:
        failed = await scene.call("/", url="ftp://127.0.0.1/x")
        assert failed == error("http_request_failed", "the scheme ftp cannot be called, only http and https")


async def test_a_clock_before_1970_cannot_date_a_request() -> None:
    async with open_endpoint() as endpoint, open_world(configured(ANYTHING), clock=TrioClock(-1e12)) as world:
        scene = Scene(world, endpoint, await world.connect(MODERN), await world.connect(MODERN))
        assert (await scene.call("/"))["error"]["code"] == "timestamp_error"


# --- connections ------------------------------------------------------------------------------------------------------


async def test_connections_are_kept_and_bounded() -> None:
    release = trio.Event()

    async def wait(stream: trio.abc.Stream) -> None:
        await release.wait()
        await stream.send_all(answer("200 OK", b"1", "connection: close"))

    async with open_scene(wait=wait) as scene:
        for _ in range(3):
            await scene.call("/")
        assert scene.endpoint.connections == 1
        await scene.register("w", "/wait")
        calls = [await scene.caller.invoke("w", {}) for _ in range(80)]
        await scene.endpoint.wait_seen(3 + 64)
        await scene.caller.fence()
        assert scene.endpoint.open == 64
        release.set()
        assert [(await scene.caller.outcome(call))["result"] for call in calls] == [1] * 80


async def test_a_connection_that_the_endpoint_closed_is_not_used_again() -> None:
    async def once(stream: trio.abc.Stream) -> None:
        await stream.send_all(answer("200 OK", b"1"))

    async with open_scene(once=once) as scene:
        for number in range(1, 4):
            assert await scene.call("/once") == {"result": 1}
            await eventually(lambda: scene.endpoint.open == 0)
            assert scene.endpoint.connections == number


# --- registration -----------------------------------------------------------------------------------------------------


async def test_a_registration_that_does_not_fit_is_dropped(caplog: pytest.LogCaptureFixture) -> None:  # wire 108
    async with open_scene() as scene:
        url = scene.endpoint.url()
        unfit: list[Any] = [
            *({"url": url, "method": method} for method in ("post", "HEAD", "OPTIONS", "")),
            *({"url": url, "auth": {"type": kind}} for kind in ("none", "digest", "bearer")),
            {"url": url, "headers": {"a": 1}},
            *({"url": url, "timeout_ms": value} for value in ("5", -1, 1.5)),
            *({}, {"url": 5}, [], "text", 5),
        ]
        for number, invocation in enumerate(unfit):
            await scene.owner.register(f"f{number}", invocation=invocation)
            assert (await scene.caller.error(f"f{number}"))["code"] == "function_not_found"
            assert f"function f{number} of worker {scene.owner.id} is not registered" in caplog.text
        assert await scene.owner.fence() == []


@pytest.mark.parametrize("more", [{"headers": None}, {"timeout_ms": None}, {"auth": None}, {"zzz": 1}])
async def test_null_means_absent_and_unknown_members_are_ignored(more: dict[str, Any]) -> None:
    async with open_scene() as scene:
        assert await scene.call("/", **more) == {"result": {"ok": True}}


async def test_an_invocation_of_null_is_an_ordinary_function() -> None:
    async with open_scene() as scene:
        await scene.owner.register("f", invocation=None)
        await scene.owner.fence()
        call = await scene.caller.invoke("f", {})
        await scene.owner.serve_one("f", result=1)
        assert (await scene.caller.outcome(call))["result"] == 1


MISSING = [
    ({"type": "bearer", "token_key": "NOPE"}, "token_not_found"),
    ({"type": "api_key", "header": "x", "value_key": "NOPE"}, "api_key_not_found"),
    ({"type": "hmac", "secret_key": "NOPE"}, "secret_not_found"),
    ({"type": "basic", "username_key": "NOPE", "password_key": "PASSWORD"}, "username_not_found"),
    ({"type": "basic", "username_key": "USER", "password_key": "NOPE"}, "password_not_found"),
]


@pytest.mark.parametrize(("auth", "code"), MISSING)
async def test_a_missing_variable(auth: dict[str, str], code: str, caplog: pytest.LogCaptureFixture) -> None:  # wire 49
    async with open_scene() as scene:
        await scene.register(auth=auth)
        assert (await scene.caller.error("f"))["code"] == "function_not_found"
        assert f"not registered: {code}: the environment variable NOPE of the engine is not set" in caplog.text
        await scene.owner.register("g")
        call = await scene.caller.invoke("g", {})
        await scene.owner.serve_one("g", result=1)
        assert (await scene.caller.outcome(call))["result"] == 1


async def test_no_secret_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_scene(x=say_nothing) as scene:
        url = scene.endpoint.url("/x?key=query-secret").replace("://", "://ann:url-secret@")
        for auth in (
            {"type": "bearer", "token_key": "TOKEN"},
            {"type": "hmac", "secret_key": "SECRET"},
            {"type": "basic", "username_key": "USER", "password_key": "PASSWORD"},
        ):
            failed = await scene.call("/", url=url, auth=auth, headers={"x-k": "header-secret"})
            shown = caplog.text + repr(scene.world.engine.kernel.functions.find("default", "f")) + str(failed)
            for secret in ("tok-1", "sec-1", "pa:ss", "url-secret", "query-secret", "header-secret"):
                assert secret not in shown


async def test_without_the_module_nothing_is_registered(caplog: pytest.LogCaptureFixture) -> None:  # wire 49
    kernel = Kernel()
    worker = kernel.connect()
    message = RegisterFunction("f", invocation=Raw(b'{"url":"https://example.org"}'))
    await kernel.registrations.take_http_function(worker, message)
    kernel.registrations.take(worker, message)
    assert kernel.functions.find("default", "f") is None
    assert "iii-http-functions, is not loaded" in caplog.text
    assert "its URL was not checked" in caplog.text


async def test_listed_unregistered_and_gone(caplog: pytest.LogCaptureFixture) -> None:  # wire 50
    async with open_scene() as scene:
        await scene.owner.register(
            "f", invocation={"url": scene.endpoint.url()}, description="d", metadata={"m": 1}, request_format={"a": 1}
        )
        row = await scene.owner.value("engine::functions::info", {"function_id": "f"})
        shown = {key: row[key] for key in ("description", "metadata", "request_schema")}
        assert shown == {"description": "d", "metadata": {"m": 1}, "request_schema": {"a": 1}}
        await scene.caller.say(type="unregisterfunction", id="f")
        await scene.caller.fence()
        assert await scene.caller.value("f") == {"ok": True}
        await scene.owner.say(type="unregisterfunction", id="f")
        await scene.owner.fence()
        assert (await scene.caller.error("f"))["code"] == "function_not_found"
        await scene.register()
        assert await scene.caller.value("f") == {"ok": True}
        await scene.world.leave(scene.owner)
        assert (await scene.caller.error("f"))["code"] == "function_not_found"


async def test_one_owner_per_id_of_either_kind() -> None:  # wire 50; 4.2
    async with open_scene() as scene:
        await scene.register()
        rival = await scene.world.connect(MODERN)
        await rival.register("f")
        rejected = await rival.hear("registrationrejected")
        assert (rejected["function_id"], rejected["owner_worker_id"]) == ("f", scene.owner.id)
        old = await scene.world.connect(LEGACY)
        await old.register("f")
        call = await scene.caller.invoke("f", {})
        await old.serve_one("f", result="over the socket")
        assert (await scene.caller.outcome(call))["result"] == "over the socket"
        await rival.register("f", invocation={"url": scene.endpoint.url()})
        assert (await rival.hear("registrationrejected"))["owner_worker_id"] == old.id
        await old.register("f", invocation={"url": scene.endpoint.url()})
        assert await old.value("f") == {"ok": True}


async def test_a_registration_before_the_announcement_moves_with_it() -> None:
    async with open_scene() as scene:
        early = await scene.world.connect()
        await early.register("f", invocation={"url": scene.endpoint.url()})
        assert await early.value("f") == {"ok": True}
        await early.announce(MODERN, namespace="shop")
        assert await early.value("f", namespace="shop") == {"ok": True}
        assert (await early.error("f"))["code"] == "function_not_found"
        await early.say(type="unregisterfunction", id="f")
        await early.fence()
        assert (await early.error("f", namespace="shop"))["code"] == "function_not_found"


async def test_a_registration_and_the_calls_behind_it_in_one_batch() -> None:  # 1.4
    async with open_scene() as scene:
        await scene.owner.register("f", invocation={"url": scene.endpoint.url()})
        first = await scene.owner.invoke("f", {})
        await scene.owner.say(type="unregisterfunction", id="f")
        second = await scene.owner.invoke("f", {})
        assert (await scene.owner.outcome(second))["error"]["code"] == "function_not_found"
        assert (await scene.owner.outcome(first))["result"] == {"ok": True}


async def test_the_module_counts_its_calls(nursery: trio.Nursery) -> None:
    async with open_endpoint(wait=hang) as endpoint:
        kernel = Kernel()
        await nursery.start(kernel.invocations.run)
        security = SecurityConfig(require_https=False, block_private_ips=False)
        module = HttpFunctionsModule(HttpFunctionsConfig(security), ModuleOwner("iii-http-functions"))
        assert module.statistics().in_flight == 0
        await nursery.start(partial(module.run, kernel))
        said = Raw(b'{"url":"%b"}' % endpoint.url("/wait").encode())
        await kernel.registrations.take_http_function(kernel.connect(), RegisterFunction("f", invocation=said))
        await kernel.bus.notify("f", {})
        await endpoint.wait_seen(1)
        assert module.statistics().in_flight == 1
        nursery.cancel_scope.cancel()


async def test_many_registrations_in_one_batch_keep_their_order() -> None:  # 1.4
    async with open_scene() as scene:
        url = scene.endpoint.url()
        lines = [
            {"type": "registerfunction", "id": f"f{number % 7}", "invocation": {"url": url}} for number in range(150)
        ]
        lines.insert(70, {"type": "unregisterfunction", "id": "f3"})
        lines += [{"type": "unregisterfunction", "id": "f4"}, {"type": "registerfunction", "id": "last"}]
        raw = await scene.world.raw()
        await raw.upgrade()
        await raw.stream.send_all(b"".join(frame(json.dumps(line).encode(), BINARY) for line in lines))
        functions = scene.world.engine.kernel.functions
        await eventually(lambda: functions.find("default", "last") is not None)
        found = {name for name in (f"f{number}" for number in range(7)) if functions.find("default", name)}
        assert found == {"f0", "f1", "f2", "f3", "f5", "f6"}


async def test_a_refusal_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        await scene.register("f\nERROR forged", auth={"type": "bearer", "token_key": "N\nERROR forged"})
    refusals = [record.getMessage() for record in caplog.records if "not registered" in record.getMessage()]
    assert len(refusals) == 1
    assert "\n" not in refusals[0]


# --- as an invocation -------------------------------------------------------------------------------------------------


async def test_a_call_is_an_invocation_like_any_other() -> None:
    release = trio.Event()

    async def wait(stream: trio.abc.Stream) -> None:
        await release.wait()
        await stream.send_all(answer("200 OK", b"1", "connection: close"))

    async with open_scene(wait=wait) as scene:
        await scene.register("w", "/wait")
        call = await scene.caller.invoke("w", {}, traceparent="tp", baggage="b=1")
        await scene.endpoint.wait_seen(1)
        engine = scene.world.engine
        assert engine.statistics().kernel.invocations.in_flight == 1
        node = next(child for child in engine.tree().children if child.path.endswith("invocations"))
        assert [child.path.rpartition("/")[2] for child in node.children] == [call]
        release.set()
        outcome = await scene.caller.outcome(call)
        assert (outcome["result"], outcome["traceparent"], outcome["baggage"]) == (1, "tp", "b=1")
        assert not {"traceparent", "baggage"} & set(scene.endpoint.seen[0].headers)
        assert engine.statistics().kernel.invocations.in_flight == 0


async def test_a_void_call_and_a_call_from_inside() -> None:  # wire 30
    async with open_scene() as scene:
        await scene.register()
        await scene.caller.invoke("f", {"a": 1}, action={"type": "void"})
        await scene.endpoint.wait_seen(1)
        assert await scene.world.engine.invoke("f", {"b": 2}) == {"ok": True}
        assert scene.endpoint.seen[1].json == {"b": 2}
        assert await scene.caller.fence() == []


async def test_the_owner_leaving_stops_its_calls() -> None:  # 3.6
    async with open_scene(silent=hang) as scene:
        await scene.register("s", "/silent")
        call = await scene.caller.invoke("s", {})
        await scene.endpoint.wait_seen(1)
        await scene.world.leave(scene.owner)
        assert (await scene.caller.outcome(call))["error"]["code"] == "invocation_stopped"
        await eventually(lambda: scene.endpoint.open == 0)


async def test_a_crash_of_the_module_ends_its_calls_and_nothing_else() -> None:
    async with open_scene(silent=hang) as scene:
        await scene.register("s", "/silent")
        await scene.register()
        call = await scene.caller.invoke("s", {})
        await scene.endpoint.wait_seen(1)
        assert scene.world.engine.kill("modules/iii-http-functions/logic")
        assert (await scene.caller.outcome(call))["error"]["code"] == "invocation_stopped"
        await eventually(lambda: scene.endpoint.open == 0)
        await scene.register("after")
        assert await scene.caller.value("after") == {"ok": True}
        assert await scene.caller.value("f") == {"ok": True}
