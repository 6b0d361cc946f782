"""Which request reaches which route, and what results become, over a socket (http.md 4, 5, 7)."""

from typing import Any

import pytest
from http_rig import Rig, serving
from trio.testing import MockClock

from iii_trio.modules.http import HttpConfig

pytestmark = pytest.mark.usefixtures("server")


def routes(rig: Rig, *paths: str, method: str = "GET") -> None:
    """Routes that answer which one they are and what their parameters hold."""
    for path in paths:

        def answer(call: Any, path: str = path) -> Any:
            return {"body": [path, call.payload.value["path_params"]]}

        rig.route(path, answer, method)


async def reached(rig: Rig, path: str, method: str = "GET") -> Any:
    answer = await rig.ask(method, path)
    return answer.json if answer.status == 200 else answer.status


async def test_the_slash_at_the_front_makes_no_difference_and_the_last_one_answers(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        routes(rig, "a/b")
        assert await reached(rig, "/a/b") == ["a/b", {}]
        routes(rig, "/a/b")
        assert await reached(rig, "/a/b") == ["/a/b", {}]  # http 14


async def test_methods_may_name_their_parameters_as_they_like(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        routes(rig, "/u/:id")
        routes(rig, "/u/:userId", method="POST")
        assert await reached(rig, "/u/1") == ["/u/:id", {"id": "1"}]  # http 19
        assert await reached(rig, "/u/1", "POST") == ["/u/:userId", {"userId": "1"}]


async def test_the_text_goes_before_the_parameter_segment_by_segment(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        routes(rig, "/u/me", "/u/:id", "/u/:id/posts", "/t/{id}", "/s/{*rest}")
        assert await reached(rig, "/u/me") == ["/u/me", {}]  # http 26
        assert await reached(rig, "/u/you") == ["/u/:id", {"id": "you"}]
        assert await reached(rig, "/u/me/posts") == ["/u/:id/posts", {"id": "me"}]
        assert await reached(rig, "/t/5") == ["/t/{id}", {"id": "5"}]  # http 29
        assert await reached(rig, "/s/x/y") == ["/s/{*rest}", {"rest": "x/y"}]
        assert [await reached(rig, path) for path in ("/u/", "/U/me", "/u/me/", "/s/")] == [404] * 4  # http 27
        assert await reached(rig, "/u/a%2Fb") == ["/u/:id", {"id": "a%2Fb"}]  # http 28


async def test_a_catch_all_takes_what_parameters_leave(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        routes(rig, "w/{*r}", "w/:p", "w/:p/y")
        assert await reached(rig, "/w/1") == ["w/:p", {"p": "1"}]  # http 95
        assert await reached(rig, "/w/1/y") == ["w/:p/y", {"p": "1"}]
        assert await reached(rig, "/w/1/z") == ["w/{*r}", {"r": "1/z"}]


async def test_no_path_leads_anywhere_else(autojump_clock: MockClock) -> None:
    """Nothing is decoded or tidied up: what looks like a way out is the text of a parameter, or no route (13)."""
    async with serving() as rig:
        routes(rig, "files/:name", "files/{*rest}", "files/a/secret")
        for name in ("..", "%2e%2e", ".%2e%2f..%5cetc", "%00", "a%00.txt", "..;x", "%252e"):
            assert await reached(rig, f"/files/{name}") == ["files/:name", {"name": name}]
        for rest in ("../../etc/passwd", "./a/secret", "a/../a/secret", "a/x/../secret", "a/%73ecret", "%2e%2e/%00/x"):
            assert await reached(rig, f"/files/{rest}") == ["files/{*rest}", {"rest": rest}]
        for path in ("/../files/a", "/x/../files/a", "//files/a", "/files%2Fa", "/./files/a", "/\\files\\a"):
            assert await reached(rig, path) == 404


async def test_a_method_that_the_path_has_not(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        routes(rig, "/a", method="PUT")
        routes(rig, "/a")
        answer = await rig.ask("POST", "/a")
        assert (answer.status, answer["allow"]) == (405, "GET, PUT")  # http 30
        assert answer.json["error"]["code"] == "METHOD_NOT_ALLOWED"


# --- results ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "kind", "body"),
    [
        ({"body": "hi"}, "application/json", b'"hi"'),  # http 44
        ({"body": "hi", "headers": {"content-type": "text/plain"}}, "text/plain", b"hi"),
        ({"body": "hi", "headers": {"Content-Type": "application/json"}}, "application/json", b"hi"),
        ({"body": None}, "application/json", b"null"),  # http 45
        ({"body": None, "headers": {"content-type": "text/plain"}}, "text/plain", b""),
        ({"body": {"a": 1}, "headers": {"content-type": "text/html"}}, "text/html", b'{"a":1}'),  # http 46
        ({"body": "é", "headers": {"content-type": "text/plain"}}, "text/plain", "é".encode()),
    ],
)
async def test_bodies_and_their_types(result: Any, kind: str, body: bytes, autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", result)
        answer = await rig.ask("GET", "/a")
        assert (answer.status, answer["content-type"], answer.body) == (200, kind, body)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"status_code": "404"}, 200),  # http 49
        ({"status_code": -1}, 200),
        ({"status_code": 1000}, 200),
        ({"status_code": 404.0}, 200),
        ({}, 200),
        ({"statusCode": 404}, 404),
        ({"status_code": 201, "statusCode": 404}, 201),
        ({"status_code": 599}, 599),
    ],
)
async def test_statuses(said: dict[str, Any], status: int, autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {**said, "body": 1})
        assert (await rig.ask("GET", "/a")).status == status


async def test_headers_that_no_wire_may_carry(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        headers = {
            "x-ok": "1",
            "x-cr": "a\rb",
            "x-lf": "a\nset-cookie: x=1",
            "x nul": "a",
            "x-del": "\x7f",
            "x-text": "é",
        }
        rig.route("/a", {"headers": headers, "body": 1})
        answer = await rig.ask("GET", "/a")
        names = {name for name, _ in answer.fields}
        assert {"x-ok", "x-text"} <= names  # http 48
        assert not {"x-cr", "x-lf", "x nul", "x-del", "set-cookie"} & names
        assert answer["x-text"].encode("latin-1") == "é".encode()
        assert answer.body == b"1"


async def test_a_function_may_have_the_connection_end(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"headers": {"Connection": "close"}, "body": 1})
        client = await rig.connect()
        answer = await client.ask("GET", "/a")
        assert (answer.body, answer.all("connection")) == (b"1", ["close"])
        assert await client.ends()


async def test_cors_headers_of_a_function(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"headers": {"Access-Control-Allow-Origin": "https://mine", "Vary": "accept"}, "body": 1})
        answer = await rig.ask("GET", "/a")
        assert answer.all("access-control-allow-origin") == ["*"]  # http 82
        assert answer.all("vary") == ["accept", "origin, access-control-request-method, access-control-request-headers"]


# --- the documented keys ------------------------------------------------------------------------------------------------


async def test_a_slash_at_the_end_may_be_ignored(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(ignore_trailing_slash=True)) as rig:
        routes(rig, "/a", "/b/", "/c", "/c/", "/u/:id")
        routes(rig, "/a", method="POST")
        assert await reached(rig, "/a/") == ["/a", {}]  # http 92
        assert await reached(rig, "/b") == ["/b/", {}]
        assert [await reached(rig, path) for path in ("/c", "/c/")] == [["/c", {}], ["/c/", {}]]
        assert await reached(rig, "/u/7/") == ["/u/:id", {"id": "7"}]
        assert [await reached(rig, path) for path in ("/", "/a//", "/u/")] == [404] * 3
        assert (await rig.ask("DELETE", "/a/"))["allow"] == "GET, POST"
        assert (await rig.ask("OPTIONS", "/a/"))["allow"] == "GET, POST"


async def test_a_function_for_paths_that_have_no_route(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(not_found_function="lost")) as rig:
        rig.function("lost", lambda call: {"body": call.payload.value})
        routes(rig, "/a")
        headers = {"content-type": "application/json"}
        answer = await rig.ask("POST", "/no/such%20place?q=1", headers, b'{"x":1}')
        assert answer.status == 404  # http 92
        got = answer.json
        assert (got["method"], got["path"], got["path_params"]) == ("POST", "/no/such%20place", {})
        assert (got["query_params"], got["body"]) == ({"q": "1"}, {"x": 1})
        assert got["trigger"] == {"type": "http", "path": "/no/such%20place", "method": "POST"}
        assert (got["request_body"]["direction"], got["response"]["direction"]) == ("read", "write")
        assert (await rig.ask("POST", "/a")).status == 405
        assert (await rig.ask("HEAD", "/a")).status == 404
        assert len(rig.calls) == 1


async def test_it_may_give_a_status_of_its_own(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(not_found_function="lost")) as rig:
        rig.function("lost", {"status_code": 302, "headers": {"location": "/a"}})
        answer = await rig.ask("GET", "/b")
        assert (answer.status, answer["location"]) == (302, "/a")


@pytest.mark.parametrize("known", [True, False])
async def test_where_it_fails_the_answer_is_plain_404(
    known: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("broken")

    async with serving(HttpConfig(not_found_function="lost")) as rig:
        if known:
            rig.function("lost", fail)
        answer = await rig.ask("GET", "/b")
        assert (answer.status, answer.json) == (404, {"error": {"code": "NOT_FOUND", "message": "Not Found"}})
        assert "lost, asked in place of 404, failed with" in caplog.text


async def test_it_gets_no_more_than_the_body_limit(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(not_found_function="lost", body_limit=10)) as rig:
        rig.function("lost", {"body": 1})
        assert (await rig.ask("POST", "/b", {"content-type": "application/json"}, b"[1, 2, 3, 4]")).status == 413
        assert not rig.calls


async def test_requests_have_ids(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(request_id_header="X-Request-Id")) as rig:
        rig.route("/a", lambda call: {"headers": {"x-request-id": "mine"}, "body": call.payload.value["headers"]})
        first, second = await rig.ask("GET", "/a"), await rig.ask("GET", "/a")
        made = first.json["x-request-id"]
        assert len(made) == 36
        assert first.all("x-request-id") == [made]  # http 92
        assert second.json["x-request-id"] != made
        given = await rig.ask("GET", "/a", {"x-request-id": "r-7"})
        assert (given.json["x-request-id"], given.all("x-request-id")) == ("r-7", ["r-7"])
        assert len((await rig.ask("GET", "/no", {"x-request-id": "é"}))["x-request-id"]) == 36


async def test_without_the_key_they_have_none(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", lambda call: {"body": call.payload.value["headers"]})
        answer = await rig.ask("GET", "/a")
        assert answer.json == {"host": "h.example"}
        assert not answer.all("x-request-id")


# --- the log ------------------------------------------------------------------------------------------------------------

SECRETS = [
    "authorization",
    "baggage",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-access-token",
    "x-secret",
    "x-csrf-token",
    "proxy-authorization",
]


async def test_no_secret_gets_into_the_log(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    caplog.set_level("DEBUG")
    async with serving() as rig:
        rig.route("/u/:id", {"body": 1})
        headers = {**{name: f"SECRET-{name}" for name in SECRETS}, "x-plain": "open", "x-odd": "é"}
        await rig.ask("GET", "/u/7?token=SECRETQUERY&page=SECRETPAGE", headers)
        assert "SECRET" not in caplog.text  # http 90
        line = next(record.getMessage() for record in caplog.records if "matched /u/:id" in record.getMessage())
        assert "GET /u/7 matched /u/:id" in line
        assert "query keys ['token', 'page']" in line
        assert all(f"'{name}': '[REDACTED]'" in line for name in SECRETS)
        assert "'x-plain': 'open'" in line
        assert "'x-odd': '[non-utf8]'" in line


@pytest.mark.parametrize(("trusted", "named"), [(True, "from 203.0.113.9,"), (False, "from ,")])
async def test_the_client_behind_a_proxy_is_named_where_that_is_trusted(
    trusted: bool, named: str, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level("DEBUG", "iii_trio.http")
    async with serving(HttpConfig(trust_proxy=trusted)) as rig:
        rig.route("/a", {"body": 1})
        await rig.ask("GET", "/a", {"x-forwarded-for": "203.0.113.9, 10.0.0.1"})
        assert named in caplog.text
        caplog.clear()
        await rig.ask("GET", "/a")
        assert "from ," in caplog.text
