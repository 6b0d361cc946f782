"""From results and errors to answers, against http.md 7 and 12."""

import json
from typing import Any

import pytest

from iii_trio.modules.http.config import CorsConfig
from iii_trio.modules.http.cors import CorsPolicy
from iii_trio.modules.http.response import (
    error_response,
    is_answer,
    not_found,
    plain_response,
    shutting_down,
    too_large,
)
from iii_trio.modules.http.seam import Response
from iii_trio.protocol.errors import FunctionFailed, InvocationError, ModuleUnavailable, Overloaded, ShuttingDown

JSON = ("content-type", "application/json")
VARY = ("vary", "origin, access-control-request-method, access-control-request-headers")


def fields(response: Response) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in response.headers]


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        ({"status_code": 201, "body": {"a": 1}}, 201, b'{"a":1}'),  # http 42
        ({"id": 1}, 200, b"{}"),  # http 43
        ("x", 200, b"{}"),
        (5, 200, b"{}"),
        (True, 200, b"{}"),
        (False, 200, b"{}"),
        ([1], 200, b"{}"),
        ({"body": "hi"}, 200, b'"hi"'),  # http 44
        ({"body": None}, 200, b"null"),  # http 45
        ({"body": [1, 2.0]}, 200, b"[1,2.0]"),
        ({"body": {"type": "Buffer", "data": [1]}}, 200, b'{"type":"Buffer","data":[1]}'),
        ({"status_code": "404", "body": 1}, 200, b"1"),  # http 49
        ({"status_code": -1, "body": 1}, 200, b"1"),
        ({"status_code": 1000, "body": 1}, 200, b"1"),
        ({"status_code": 65740, "body": 1}, 200, b"1"),
        ({"status_code": 404.0, "body": 1}, 200, b"1"),
        ({"status_code": True, "body": 1}, 200, b"1"),
        ({"status_code": None, "statusCode": 404, "body": 1}, 200, b"1"),
        ({"statusCode": 404, "body": 1}, 404, b"1"),  # D-13
        ({"status_code": 403, "statusCode": 404, "body": 1}, 403, b"1"),
        ({"status": 404, "body": 1}, 200, b"1"),
        ({"status_code": 999, "body": 1}, 999, b"1"),
        ({"status_code": 302}, 302, b"{}"),
    ],
)
def test_a_result_without_headers_is_json(result: Any, status: int, body: bytes) -> None:
    assert plain_response(result) == Response(status, ((b"content-type", b"application/json"),), body)


@pytest.mark.parametrize("status", [100, 101, 150, 199])
def test_a_status_that_is_not_final_is_500_and_closes(status: int) -> None:
    assert plain_response({"status_code": status, "body": 1}) == Response(500, close=True)  # http 50


@pytest.mark.parametrize(
    ("headers", "body", "expected", "sent"),
    [
        ({"Content-Type": "text/plain"}, "hi", b"hi", [("content-type", "text/plain")]),  # http 44
        ({"CONTENT-TYPE": "application/json"}, "hé", "hé".encode(), [("content-type", "application/json")]),
        ({"content-type": "text/plain"}, None, b"", [("content-type", "text/plain")]),  # http 45
        (
            {"content-type": "text/html"},
            {"a": [1, None]},
            b'{"a":[1,null]}',
            [("content-type", "text/html")],
        ),  # http 46
        ({"content-type": "a\rb"}, "hi", b"hi", []),
        ({"content-type": 5}, "hi", b'"hi"', [JSON]),
        ({"x-a": "1", "X-A": "2"}, 1, b"1", [("x-a", "1"), ("x-a", "2"), JSON]),
        (
            ["Set-Cookie: a=1; Path=/", "set-cookie:b=2", "nocolon", ": empty", "x-empty:", 5, "x-a: b: c "],  # http 47
            1,
            b"1",
            [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"), ("x-empty", ""), ("x-a", "b: c"), JSON],
        ),
        (["content-type: text/html", "Content-Type: text/plain"], "hi", b"hi", [("content-type", "text/html")]),
        ([["x", "y"]], 1, b"1", [JSON]),
        ("x: y", 1, b"1", [JSON]),
        (None, 1, b"1", [JSON]),
        ({"x": "a\r\nset-cookie: b", "ok": "1"}, 1, b"1", [("ok", "1"), JSON]),  # http 48
        ({"x": "a\nb", "y": "\x00", "z": "\x07", "d": "\x7f", "t": "a\tb"}, 1, b"1", [("t", "a\tb"), JSON]),
        ({"x y": "1", "é": "1", "": "1", "x:": "1", "ok": "é"}, 1, b"1", [("ok", "é"), JSON]),
        ({"sp": "  a  ", "lone": "\ud800"}, 1, b"1", [("sp", "a"), JSON]),
        ({"Content-Length": "2", "Transfer-Encoding": "chunked"}, 1, b"1", [JSON]),  # http 97
    ],
)
def test_headers_of_a_result(headers: Any, body: Any, expected: bytes, sent: list[tuple[str, str]]) -> None:
    response = plain_response({"headers": headers, "body": body})
    assert response.body == expected
    assert fields(response) == sent


def test_only_a_result_that_says_what_to_answer_is_an_answer() -> None:
    assert all(map(is_answer, [{"body": None}, {"status_code": 204}, {"statusCode": 204}]))
    assert not any(map(is_answer, [{"id": 1}, {}, "x", 5, [1], True]))  # http 43


def test_a_failed_call_is_500_with_an_error_id_and_without_its_stack() -> None:
    error = InvocationError("stock is negative", code="MY_CODE", stacktrace="secret line 1")
    response = error_response(error, "9a41c07be2d")
    assert response.status == 500  # http 51
    assert json.loads(response.body) == {
        "error": {"code": "MY_CODE", "message": "stock is negative", "error_id": "9a41c07be2d"}
    }
    assert fields(response) == [JSON]
    assert json.loads(error_response(FunctionFailed("x"), "1").body)["error"]["code"] == "invocation_failed"


@pytest.mark.parametrize("error", [Overloaded("m"), ModuleUnavailable("m"), ShuttingDown("m")])
def test_a_call_that_the_engine_refuses_is_503_without_an_error_id(error: InvocationError) -> None:
    response = error_response(error, "1")
    assert response.status == 503
    assert json.loads(response.body) == {"error": {"code": error.code, "message": "m"}}


@pytest.mark.parametrize(
    ("allowed", "method", "status", "allow"),
    [
        ([], "GET", 404, None),
        (["GET"], "HEAD", 404, None),  # D-10
        (["POST"], "HEAD", 405, "POST"),
        (["GET", "POST"], "PUT", 405, "GET, POST"),  # http 30
        (["GET"], "get", 405, "GET"),
    ],
)
def test_an_unmatched_request_is_404_or_405(allowed: list[str], method: str, status: int, allow: str | None) -> None:
    response = not_found(allowed, method)
    code, message = {404: ("NOT_FOUND", "Not Found"), 405: ("METHOD_NOT_ALLOWED", "Method Not Allowed")}[status]
    assert response.status == status
    assert json.loads(response.body) == {"error": {"code": code, "message": message}}
    assert dict(fields(response)).get("allow") == allow


def test_answers_that_end_the_connection() -> None:
    assert (too_large(10).status, too_large(10).close) == (413, True)  # http 91
    assert json.loads(too_large(10).body)["error"]["code"] == "PAYLOAD_TOO_LARGE"
    assert (shutting_down().status, shutting_down().close) == (503, True)


# --- CORS --------------------------------------------------------------------------------------------------------------

ORIGIN = "access-control-allow-origin"
METHODS = "access-control-allow-methods"
HEADERS = "access-control-allow-headers"
EXPOSE = "access-control-expose-headers"


def cors(config: CorsConfig | None, origin: bytes | None, *headers: tuple[bytes, bytes]) -> list[tuple[str, str]]:
    return fields(CorsPolicy.of(config).apply(Response(200, headers), origin))


def test_without_a_block_everything_is_allowed() -> None:
    assert cors(None, None) == [(ORIGIN, "*"), (EXPOSE, "*"), VARY]  # http 78


@pytest.mark.parametrize("origins", [(), ("*",), ("*", "https://a")])
def test_a_star_or_nothing_allows_every_origin(origins: tuple[str, ...]) -> None:
    assert cors(CorsConfig(allowed_origins=origins), b"http://x") == [(ORIGIN, "*"), VARY]


def test_a_listed_origin_is_echoed_and_another_gets_nothing() -> None:
    config = CorsConfig(allowed_origins=("https://a.example", "bad\norigin"))
    assert cors(config, b"https://a.example") == [(ORIGIN, "https://a.example"), VARY]  # http 80
    assert cors(config, b"https://A.example") == [VARY]
    assert cors(config, b"https://a.example:443") == [VARY]
    assert cors(config, None) == [VARY]
    assert cors(CorsConfig(allowed_origins=("bad\norigin",)), b"x") == [VARY]


def test_the_engine_replaces_the_handlers_origin_and_keeps_its_vary() -> None:
    own = [(b"access-control-allow-origin", b"mine"), (b"vary", b"accept")]
    assert cors(None, None, *own) == [("vary", "accept"), (ORIGIN, "*"), (EXPOSE, "*"), VARY]  # http 82
    listed = CorsConfig(allowed_origins=("https://a",))
    assert cors(listed, b"https://b", *own) == [(ORIGIN, "mine"), ("vary", "accept"), VARY]


def test_preflight_answers() -> None:
    def asked(config: CorsConfig | None, allowed: list[str]) -> Response:
        return CorsPolicy.of(config).preflight(b"https://a", allowed)

    assert fields(asked(None, [])) == [(ORIGIN, "*"), (METHODS, "*"), (HEADERS, "*"), VARY]  # http 79
    assert (asked(None, []).status, asked(None, []).body) == (200, b"")
    assert ("allow", "GET, POST") in fields(asked(None, ["GET", "POST"]))
    listed = CorsConfig(allowed_methods=("GET", "bad method", "post"))
    assert (METHODS, "GET,post") in fields(asked(listed, []))  # http 81
    assert (METHODS, "*") in fields(asked(CorsConfig(allowed_methods=("",)), []))
