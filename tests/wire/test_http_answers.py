"""What a client gets, through real HTTP over memory streams and in virtual time (http.md 7, 8, 11, 12, 14)."""

import re
from typing import Any

import pytest
import trio
import trio.testing
from http_rig import request, serving
from trio.testing import MockClock

from iii_trio.kernel import Call, Limits
from iii_trio.modules.http import CorsConfig, HttpConfig
from iii_trio.modules.http.gateway import Gateway
from iii_trio.protocol.errors import InvocationError

pytestmark = pytest.mark.usefixtures("server")


async def forever(_: Call) -> None:
    await trio.sleep_forever()


VARY = ("vary", "origin, access-control-request-method, access-control-request-headers")


async def test_a_plain_result_whole(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"status_code": 201, "headers": {"Location": "/b"}, "body": {"a": 1}})
        answer = await rig.ask("GET", "/a")
        assert answer.line == "HTTP/1.1 201 Created"
        assert answer.body == b'{"a":1}'  # http 42
        assert [field for field in answer.fields if field[0] != "date"] == [
            ("location", "/b"),
            ("content-type", "application/json"),
            ("access-control-allow-origin", "*"),  # http 78
            ("access-control-expose-headers", "*"),
            VARY,
            ("content-length", "7"),
        ]
        assert re.fullmatch(r"\w{3}, \d\d \w{3} 2025 \d\d:\d\d:\d\d GMT", answer["date"])


async def test_cookies_and_framing_of_a_handler(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/c", {"headers": ["Set-Cookie: a=1", "Set-Cookie: b=2"], "body": 1})
        rig.route(
            "/l",
            {
                "headers": {"content-length": "2", "transfer-encoding": "chunked", "connection": "keep-alive"},
                "body": "hello",
            },
        )
        client = await rig.connect()
        assert (await client.ask("GET", "/c")).all("set-cookie") == ["a=1", "b=2"]  # http 47
        lied = await client.ask("GET", "/l")
        assert (lied.all("content-length"), lied.body) == (["7"], b'"hello"')  # http 97
        assert not lied.all("transfer-encoding")
        assert (await client.ask("GET", "/c")).status == 200


async def test_a_result_without_a_body_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", {"id": 1})
        assert [(await rig.ask("GET", "/a")).body for _ in range(3)] == [b"{}"] * 3  # http 43
        assert caplog.text.count("has no `body`") == 1


@pytest.mark.parametrize(("status", "length"), [(204, []), (304, ["7"])])
async def test_answers_without_a_body_keep_the_connection(
    status: int, length: list[str], autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", {"status_code": status, "body": {"a": 1}})
        client = await rig.connect()
        answer = await client.ask("GET", "/a")
        assert (answer.status, answer.all("content-length")) == (status, length)  # http 50
        assert (await client.ask("GET", "/a")).status == status


async def test_205_carries_its_body(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"status_code": 205, "body": 1})
        assert (await rig.ask("GET", "/a")).body == b"1"


async def test_a_status_below_200_is_500_and_closes(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"status_code": 150, "body": 1})
        client = await rig.connect()
        answer = await client.ask("GET", "/a")
        assert (answer.status, answer.body, answer["connection"]) == (500, b"", "close")  # http 50
        assert await client.ends()


async def test_unmatched_requests(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        rig.route("/a", {"body": 1}, "POST")
        nothing = await rig.ask("GET", "/")
        assert (nothing.status, nothing["content-type"]) == (404, "application/json")  # http 1
        assert nothing.json == {"error": {"code": "NOT_FOUND", "message": "Not Found"}}
        wrong = await rig.ask("PUT", "/a")
        assert (wrong.status, wrong["allow"]) == (405, "GET, POST")  # http 30
        assert wrong.json == {"error": {"code": "METHOD_NOT_ALLOWED", "message": "Method Not Allowed"}}
        assert [(await rig.ask("GET", at)).status for at in ("/a/", "/A", "*", "/%61")] == [404] * 4  # http 27
        assert (await rig.ask("get", "/a")).status == 405
        assert not rig.calls


async def test_head_is_never_turned_into_get(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        rig.route("/b", {"body": "hello"}, "HEAD")
        client = await rig.connect()
        unbound = await client.ask("HEAD", "/a")
        assert (unbound.status, unbound["content-length"]) == (404, "52")  # http 31
        assert not rig.calls
        bound = await client.ask("HEAD", "/b")
        assert (bound.status, bound["content-length"]) == (200, "7")
        assert len(rig.calls) == 1
        assert (await client.ask("GET", "/a")).body == b"1"


async def test_a_raising_function(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    def fail(_: Call) -> Any:
        raise InvocationError("stock is negative", code="invocation_failed", stacktrace="at line 1")

    async with serving() as rig:
        rig.route("/a", fail)
        answer = await rig.ask("GET", "/a")
        error = answer.json["error"]
        assert answer.status == 500
        assert (error["code"], error["message"]) == ("invocation_failed", "stock is negative")  # http 51
        assert re.fullmatch("[0-9a-f]{1,12}", error["error_id"])
        record = next(
            one for one in caplog.records if one.levelname == "ERROR" and error["error_id"] in one.getMessage()
        )
        assert "at line 1" in record.getMessage()
        assert b"at line 1" not in answer.body


async def test_a_function_that_is_not_there(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.trigger("gone", "/a")
        answer = await rig.ask("GET", "/a")
        assert answer.status == 500  # http 52
        assert answer.json["error"]["code"] == "function_not_found"
        assert answer.json["error"]["message"].startswith("Function gone not found in namespace default")


async def test_refusals_of_the_engine_are_503(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        rig.host.available = False
        unavailable = await rig.ask("GET", "/a")
        assert (unavailable.status, unavailable.json["error"]["code"]) == (503, "module_unavailable")
        assert "error_id" not in unavailable.json["error"]
        rig.host.available = True
        rig.kernel.bus.limits = Limits(in_all=0)
        assert (await rig.ask("GET", "/a")).json["error"]["code"] == "overloaded"
        rig.kernel.bus.draining = True
        draining = await rig.ask("GET", "/a")
        assert (draining.status, draining.json["error"]["code"]) == (503, "shutting_down")
        assert draining["access-control-allow-origin"] == "*"


async def test_a_result_that_cannot_be_read_is_an_internal_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    async with serving() as rig:
        rig.route("/a", {"body": 1, "headers": {"x-a": "b"}})
        client = await rig.connect()
        with monkeypatch.context() as patch:
            patch.setattr(Gateway, "plain", broken)
            answer = await client.ask("GET", "/a")
        error = answer.json["error"]
        assert (answer.status, error["code"], error["message"]) == (500, "INTERNAL_ERROR", "internal server error")
        assert "a bug of ours" in caplog.text
        assert error["error_id"] in caplog.text
        assert b"bug" not in answer.body
        assert (await client.ask("GET", "/a")).status == 200


# --- time --------------------------------------------------------------------------------------------------------------


async def test_a_slow_function_is_504_with_nothing_in_it(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def slow(_: Call) -> Any:
        await trio.sleep(2)
        return {"body": 1}

    async with serving(HttpConfig(default_timeout=1500)) as rig:
        rig.route("/slow", slow)
        rig.route("/fast", {"body": 1})
        client = await rig.connect()
        begin = trio.current_time()
        answer = await client.ask("GET", "/slow")
        assert trio.current_time() - begin == pytest.approx(1.5)
        assert answer.line == "HTTP/1.1 504 Gateway Timeout"  # http 54
        assert [name for name, _ in answer.fields] == ["content-length", "date"]
        assert (answer.body, answer["content-length"]) == (b"", "0")
        assert "GET /slow: 504 after 1500 ms, no answer from f::GET/slow" in caplog.text
        caplog.clear()
        assert (await client.ask("GET", "/fast")).status == 200
        assert rig.kernel.ledger.statistics().in_flight == 1
        await trio.sleep(1)
        assert rig.kernel.ledger.statistics().in_flight == 0  # it ran to its end, its result was dropped
        assert not caplog.records


async def test_no_result_is_no_answer_until_the_deadline(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(default_timeout=3000)) as rig:
        rig.route("/null", None)
        begin = trio.current_time()
        assert (await rig.ask("GET", "/null")).status == 504  # http 63
        assert trio.current_time() - begin == pytest.approx(3)


async def test_a_slow_json_upload_is_bounded_by_the_deadline(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving(HttpConfig(default_timeout=1000)) as rig:
        rig.route("/up", {"body": 1}, "POST")
        client = await rig.connect()
        await client.send(request("POST", "/up", {"content-type": "application/json", "content-length": "3"}), b"[")
        assert (await client.read()).status == 504
        assert "POST /up: 504 after 1000 ms, the body of the request has not arrived" in caplog.text
        assert not rig.calls
        await client.send(b"1]")
        assert (await client.ask("POST", "/up")).status == 200


async def test_a_timeout_of_zero_answers_504_to_whatever_waits(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(default_timeout=0)) as rig:
        rig.route("/a", {"body": 1})
        assert (await rig.ask("GET", "/a")).status == 504  # http 103
        assert (await rig.ask("GET", "/b")).status == 404


async def test_the_limit_lets_the_excess_wait_in_order(autojump_clock: MockClock) -> None:
    running: list[str] = []
    peak: list[int] = []
    order: list[str] = []

    async def work(call: Call) -> Any:
        name = call.payload.value["query_params"]["n"]
        running.append(name)
        order.append(name)
        peak.append(len(running))
        await trio.sleep(0.2)
        running.remove(name)
        return {"body": name}

    async with serving(HttpConfig(concurrency_request_limit=2, default_timeout=300)) as rig:
        rig.route("/w", work)
        clients = [await rig.connect() for _ in range(6)]
        begin = trio.current_time()
        for number, client in enumerate(clients):
            await client.send(request("GET", f"/w?n={number}"))
            await trio.testing.wait_all_tasks_blocked()
        assert [(await client.read()).status for client in clients] == [200] * 6  # http 83
        assert max(peak) == 2
        assert [set(order[at : at + 2]) for at in (0, 2, 4)] == [{"0", "1"}, {"2", "3"}, {"4", "5"}]
        assert trio.current_time() - begin == pytest.approx(0.6)  # waiting does not count against the deadline (D-21)


async def test_a_waiting_client_that_leaves_frees_its_place(autojump_clock: MockClock) -> None:
    async def work(call: Call) -> Any:
        await trio.sleep(1)
        return {"body": 1}

    async with serving(HttpConfig(concurrency_request_limit=1)) as rig:
        rig.route("/w", work)
        first, second, third = [await rig.connect() for _ in range(3)]
        for client in (first, second, third):
            await client.send(request("GET", "/w"))
            await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        await second.stream.aclose()
        assert (await first.read()).status == 200
        assert (await third.read()).status == 200
        assert trio.current_time() - begin == pytest.approx(2)
        assert len(rig.calls) == 2


async def test_limit_zero_means_one(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(concurrency_request_limit=0)) as rig:
        rig.route("/a", {"body": 1})
        assert "concurrency_request_limit 0" in caplog.text  # http 6
        assert (await rig.ask("GET", "/a")).status == 200


# --- conditions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [True, None, 0, "", {}, "false"])
async def test_anything_but_false_lets_a_request_through(verdict: Any, autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("c", lambda _: verdict)
        rig.route("/a", {"body": "ran"}, condition_function_id="c")
        assert (await rig.ask("GET", "/a")).body == b'"ran"'  # http 75


async def test_a_condition_that_says_false_is_422(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("c", lambda _: False)
        rig.route("/a", {"body": "ran"}, condition_function_id="c")
        answer = await rig.ask("GET", "/a", {"content-type": "application/json"}, b"[1]")
        assert answer.status == 422
        assert answer.json == {
            "error": {"code": "CONDITION_NOT_MET", "message": "Request condition not met"},
            "skipped": True,
        }
        assert [call.function_id for call in rig.calls] == ["c"]
        asked = rig.calls[0].payload.value
        assert asked["body"] == [1]  # http 76
        assert asked["trigger"] == {"type": "http", "path": "/a", "method": "GET"}
        assert not {"request_body", "response"} & set(asked)


async def test_a_condition_that_fails_is_500_and_one_that_hangs_504(autojump_clock: MockClock) -> None:
    def fail(_: Call) -> Any:
        raise InvocationError("cond broke", code="C")

    async with serving(HttpConfig(default_timeout=100)) as rig:
        rig.function("fails", fail)
        rig.function("hangs", forever)
        rig.function("elsewhere", lambda _: False, "other")
        for name in ("fails", "hangs", "missing", "elsewhere"):
            rig.route(f"/{name}", {"body": "ran"}, condition_function_id=name)
        rig.route("/named", {"body": "ran"}, namespace="other", condition_function_id="elsewhere")
        failed = await rig.ask("GET", "/fails")
        assert (failed.status, failed.json["error"]["code"]) == (500, "C")
        assert (await rig.ask("GET", "/missing")).json["error"]["code"] == "function_not_found"
        assert (await rig.ask("GET", "/elsewhere")).json["error"]["code"] == "function_not_found"
        assert (await rig.ask("GET", "/named")).status == 422  # http 77
        assert (await rig.ask("GET", "/hangs")).status == 504


# --- CORS --------------------------------------------------------------------------------------------------------------


async def test_options_is_always_a_preflight_answer(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        rig.route("/a", {"body": 1}, "OPTIONS")
        for path, allow in (("/a", ["GET, OPTIONS"]), ("/unknown", []), ("*", [])):
            answer = await rig.ask("OPTIONS", path, {"origin": "http://a", "access-control-request-method": "GET"})
            assert (answer.status, answer.body, answer["content-length"]) == (200, b"", "0")  # http 79
            assert answer["access-control-allow-methods"] == answer["access-control-allow-headers"] == "*"
            assert answer.all("allow") == allow
            assert not answer.all("access-control-expose-headers")
        assert not rig.calls


async def test_every_answer_but_the_504_carries_cors_headers(autojump_clock: MockClock) -> None:
    config = HttpConfig(
        default_timeout=100, cors=CorsConfig(allowed_origins=("https://a",), allowed_methods=("GET", "POST"))
    )
    async with serving(config) as rig:
        rig.route("/ok", {"body": 1})
        rig.route("/null", None)
        rig.trigger("gone", "/gone")
        statuses = {}
        for method, path in (("GET", "/ok"), ("GET", "/no"), ("PUT", "/ok"), ("GET", "/gone"), ("OPTIONS", "/ok")):
            answer = await rig.ask(method, path, {"origin": "https://a"})
            statuses[answer.status] = answer.all("access-control-allow-origin")
            assert VARY in answer.fields
            other = await rig.ask(method, path, {"origin": "https://b"})
            assert (other.status, other.all("access-control-allow-origin")) == (answer.status, [])  # http 80
        assert statuses == {200: ["https://a"], 404: ["https://a"], 405: ["https://a"], 500: ["https://a"]}
        assert (await rig.ask("OPTIONS", "/x"))["access-control-allow-methods"] == "GET,POST"  # http 81
        assert not (await rig.ask("GET", "/null", {"origin": "https://a"})).all("vary")


async def test_a_star_among_origins_is_warned_of(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(cors=CorsConfig(allowed_origins=("*", "https://a")))):
        assert "every origin is allowed" in caplog.text
