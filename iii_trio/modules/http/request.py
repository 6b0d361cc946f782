"""The object a function receives for a request (http.md 6), and the trace context that goes with it (15.1)."""

import json
import math
import re
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from iii_trio.kernel import Ids
from iii_trio.protocol import Payload, encode_json
from iii_trio.protocol.errors import OutputRejected

from .routes import Match
from .seam import Headers

_NULL: Final = b"null"
_DEEPEST: Final = 127
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_RUN: Final = re.compile(rb"\[+|\]+")
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
# Where a number may be read in different ways: 19 and more digits, a large exponent, `-0`. Begins with a plain set, which `re` searches fast.
_ODD_NUMBER: Final = re.compile(rb"[-0-9](?:(?<=[0-9])(?:[0-9]{18}|[eE]\+?[0-9]{3})|(?<=-)0(?![.0-9]))")
_checked: Final = msgspec.json.Decoder(msgspec.Raw).decode
"""One JSON text, checked and not built in memory."""

_TRACEPARENT: Final = re.compile(r"((?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-)[0-9a-f]{2}(-.*)?")


def decode_headers(headers: Headers) -> dict[str, str]:
    """Names to values; of a repeated header the last one, of a value that is not visible ASCII the empty text."""
    return {name.decode("latin-1"): _visible(value) for name, value in headers}


def _visible(value: bytes) -> str:
    if not value.isascii():
        return ""
    text = value.decode()
    return text if text.isprintable() or not _CONTROL.search(value) else ""


def decode_query(query: bytes) -> dict[str, str]:
    """A query string as a form is decoded; of a repeated key the last value counts."""
    found = {}
    for pair in query.split(b"&"):
        if pair:
            key, _, value = pair.partition(b"=")
            found[_decode_form(key)] = _decode_form(value)
    return found


def _decode_form(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "replace")


def request_payload(
    match: Match, method: str, query: bytes, headers: dict[str, str], body: bytes, more: bytes = b""
) -> Payload:
    """The request object; `body` is JSON text and goes in as it is. So do `more` members, each with a comma before it."""
    return Payload(msgspec.Raw(b"%b%b%b}" % (payload_head(match, method, query, headers), body, more)))


def payload_head(match: Match, method: str, query: bytes, headers: dict[str, str]) -> bytes:
    """The text of the request object up to its body."""
    members = {
        "method": method,
        "path": match.path,
        "path_params": match.params,
        "query_params": decode_query(query),
        "headers": headers,
        "trigger": {"type": "http", "path": match.path, "method": method},
    }
    return encode_json(members)[:-1] + b',"body":'


def is_json(headers: dict[str, str]) -> bool:
    """Whether the body is to be parsed (D-11)."""
    return "application/json" in headers.get("content-type", "").lower()


def json_text(data: bytes) -> bytes:
    """`data` as it came if it is JSON as 6.1 wants it, else `null`.

    Only a text with numbers that the specification reads in its own way (integers beyond 64 bits become doubles, `-0`
    is `-0.0`) is written anew. Nothing is built in memory to find out.
    """
    try:
        if not data.isascii():
            data.decode()
        text = bytes(_checked(data))
        if len(text) >= 2 * _DEEPEST and not _is_shallow(text):
            return _NULL
        return text if _ODD_NUMBER.search(text) is None else _with_plain_numbers(text)
    except (msgspec.DecodeError, ValueError, RecursionError, OutputRejected):
        return _NULL


def _is_shallow(text: bytes) -> bool:
    """Whether valid JSON nests at most 127 deep, in linear time: shells are peeled while that removes enough."""
    if text.count(b"[") + text.count(b"{") <= _DEEPEST:
        return True
    bare = _STRING.sub(b"", text) if b"\\" in text else b"".join(text.split(b'"')[::2])
    brackets = bare.translate(_TO_SQUARE, _NO_BRACKET)
    peeled = 0
    while 10 * brackets.count(b"[]") > len(brackets):
        brackets, peeled = brackets.replace(b"[]", b""), peeled + 1
    return peeled + _deepest_run(brackets) <= _DEEPEST


def _deepest_run(brackets: bytes) -> int:
    depth = deepest = 0
    for run in _RUN.finditer(brackets):
        if brackets[run.start()] == 0x5B:
            depth += run.end() - run.start()
            deepest = max(deepest, depth)
        else:
            depth -= run.end() - run.start()
    return deepest


def _with_plain_numbers(text: bytes) -> bytes:
    return encode_json(json.loads(text, parse_int=_integer, parse_float=_double))


def _integer(text: str) -> int | float:
    if text == "-0":
        return -0.0
    value = int(text) if len(text) <= 20 else None
    return value if value is not None and -(1 << 63) <= value < 1 << 64 else _double(text)


def _double(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is beyond a double")
    return value


def trace_context(headers: dict[str, str], ids: Ids) -> tuple[str, str | None]:
    """`traceparent` and `baggage` for every call of a request (15.1).

    A good `traceparent` goes on sampled. A bad one counts as absent: then a trace begins here.
    """
    return given_trace(headers) or trace_of(ids.new()), headers.get("baggage") or None


def given_trace(headers: dict[str, str]) -> str | None:
    """The `traceparent` to pass on if the client gave a good one."""
    parent = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return f"{parent[1]}01{parent[2] or ''}" if parent else None


def trace_of(call_id: str) -> str:
    """A `traceparent` for a trace that begins with a call; its ids are made of that of the call, a UUID, so never zero."""
    return f"00-{call_id.replace('-', '')}-{call_id[19:23]}{call_id[24:]}-01"
