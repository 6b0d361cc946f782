"""The request object against http.md 6 and 15.1."""

import json
from random import Random

import pytest

from iii_trio.kernel import Ids
from iii_trio.modules.http.request import (
    decode_headers,
    decode_query,
    is_json,
    json_text,
    request_payload,
    trace_context,
)
from iii_trio.modules.http.routes import Match, Route

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"tag=a&tag=b&x&y=1+2%C3%A9", {"tag": "b", "x": "", "y": "1 2é"}),  # http 33
        (b"", {}),
        (b"&&", {}),
        (b"a=%FF", {"a": "\ufffd"}),
        (b"a=%zz", {"a": "%zz"}),
        (b"a=%", {"a": "%"}),
        (b"=v", {"": "v"}),
        (b"a[]=1&a[]=2", {"a[]": "2"}),
        (b"a;b=2", {"a;b": "2"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"%61=1", {"a": "1"}),
        (b"a=%00", {"a": "\x00"}),
        ("a=é".encode(), {"a": "é"}),
        (b"a=1?b=2", {"a": "1?b=2"}),
        (b"k=", {"k": ""}),
    ],
)
def test_a_query_is_decoded_like_a_form(query: bytes, expected: dict[str, str]) -> None:
    assert decode_query(query) == expected


def test_of_repeated_headers_the_last_counts_and_odd_values_are_empty() -> None:
    fields = [(b"x", b"1"), (b"x", b"2"), (b"y", "é".encode()), (b"z", b"a\tb c"), (b"c", b"a\x01")]
    assert decode_headers(fields) == {"x": "2", "y": "", "z": "a\tb c", "c": ""}  # http 34


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),  # http 35
        ("Application/JSON", True),  # D-11
        ("x-application/json", True),
        ("application/problem+json", False),
        ("text/plain", False),
    ],
)
def test_which_bodies_are_parsed(kind: str, expected: bool) -> None:
    assert is_json({"content-type": kind}) is expected
    assert not is_json({})


@pytest.mark.parametrize(
    "text",
    [
        b'{"z":2, "a":1}',
        b'{"a":1,"a":2}',
        b'"x"',
        b"null",
        b"[" * 127 + b"]" * 127,
        b'{"a":"' + b"[{" * 500 + b'"}',
        b'{"a\\"[":"' + b"[{" * 500 + b'"}',
        b"[" + b",".join([b"[[]]"] * 500) + b"]",
        b"[" + b",".join([b"[" * 126 + b"]" * 126] * 3) + b"]",
        b'{"a":18446744073709551615,"b":-9223372036854775808}',
        b'{"a":1.5e-7,"b":"2025-01-01","c":"-00"}',
        '{"é":"\\ud83d\\ude00 ü"}'.encode(),
        b'{"a":"\\/\\u0000"}',
    ],
)
def test_strict_json_goes_on_byte_for_byte(text: bytes) -> None:
    assert json_text(text) == text  # http 35
    assert json_text(b" \r\n" + text + b"\t ") == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b"{oops",
        b"\xef\xbb\xbf{}",
        b"{} x",
        b"1 2",
        b'{"a":NaN}',
        b"[Infinity]",
        b'"\\ud800"',
        b'{"\\ud800":1}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"1e400",
        b"-1e400",
        b'{"a":[1e400]}',
        b"9" * 400,
        b"0." + b"1" * 30 + b"e400",
        b"[" * 128 + b"]" * 128,
        b'{"a":' * 128 + b"1" + b"}" * 128,
        b"[" * 3000 + b"]" * 3000,
        b"[" + b"[]," * 500 + b"[" * 127 + b"]" * 128,
        b"[" + b",".join([b"[" * 126 + b"]" * 126] * 50) + b"," + b"[" * 127 + b"]" * 128,
        b"{'a':1}",
        b'{"a":"\x01"}',
        b"[1,]",
        b"01",
    ],
)
def test_what_is_not_strict_json_is_null(text: bytes) -> None:
    assert json_text(text) == b"null"  # http 35


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a":12345678901234567890123}', b'{"a":1.2345678901234568e+22}'),
        (b"[18446744073709551616]", b"[1.8446744073709552e+19]"),
        (b"[-9223372036854775809]", b"[-9.223372036854776e+18]"),
        (b'{"a":-0}', b'{"a":-0.0}'),
        (b"[-0,18446744073709551615,1.0]", b"[-0.0,18446744073709551615,1.0]"),
        (b'["12345678901234567890123", 1]', b'["12345678901234567890123",1]'),
    ],
)
def test_numbers_beyond_64_bits_become_doubles(text: bytes, expected: bytes) -> None:
    assert json_text(text) == expected


def test_the_request_object_has_exactly_the_members_of_the_specification() -> None:
    route = Route("POST", "orders/:id", "t", "f", "default")
    payload = request_payload(
        Match(route, {"id": "o-7"}, route.path), "POST", b"dry=1", {"host": "h"}, b'{"z":2, "a":1}'
    )
    assert json.loads(bytes(payload.raw)) == {  # http 32 and 41, the channel references apart
        "method": "POST",
        "path": "orders/:id",
        "path_params": {"id": "o-7"},
        "query_params": {"dry": "1"},
        "headers": {"host": "h"},
        "body": {"z": 2, "a": 1},
        "trigger": {"type": "http", "path": "orders/:id", "method": "POST"},
    }
    assert b'"body":{"z":2, "a":1}}' in bytes(payload.raw)


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        (PARENT, PARENT),
        (PARENT[:-2] + "00", PARENT),
        (PARENT.upper(), None),  # http 100
        ("00-" + "0" * 32 + "-b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01", None),
        ("ff" + PARENT[2:], None),
        ("zz", None),
        ("", None),
    ],
)
def test_a_good_traceparent_goes_on_and_a_bad_one_counts_as_absent(parent: str, expected: str | None) -> None:
    ids = Ids(Fours())
    trace, baggage = trace_context({"traceparent": parent, "baggage": "a=1, b=2"}, ids)
    began = f"00-{'4' * 16}8{'4' * 15}-8{'4' * 15}-01"
    assert (trace, baggage) == (expected or began, "a=1, b=2")
    assert trace_context({}, ids) == (began, None)


def test_the_ids_of_a_new_trace_are_never_zero() -> None:
    assert trace_context({}, Ids(Zeros()))[0] == f"00-{'0' * 12}40008{'0' * 15}-8{'0' * 15}-01"


class Zeros(Random):
    """Chance that gives nothing."""

    def getrandbits(self, k: int, /) -> int:
        return 0 * k


class Fours(Random):
    """Chance that gives one digit."""

    def getrandbits(self, k: int, /) -> int:
        return int("4" * (k // 4), 16)
