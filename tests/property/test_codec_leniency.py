"""What is dropped and what still gets through (wire-protocol 2.2 and its decision C3)."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct

from iii_trio.protocol import BadAction, ErrorBody, decode
from iii_trio.protocol.errors import RemoteProtocolError
from iii_trio.protocol.messages import (
    ABSENT,
    InvocationResult,
    InvokeFunction,
    Ping,
    RegisterTrigger,
    RegisterTriggerType,
    RegisterWorker,
    Telemetry,
    UnregisterFunction,
)

UUID = "6f1f3b9d-92f8-4a07-9c1a-5b0c0a436a31"


def invoke(**members: Any) -> bytes:
    return json.dumps({"type": "invokefunction", "function_id": "f", "invocation_id": UUID, **members}).encode()


def result(error: Any, **members: Any) -> bytes:
    return json.dumps(
        {"type": "invocationresult", "function_id": "f", "invocation_id": UUID, "error": error, **members}
    ).encode()


DROPPED = {
    "nothing": b"",
    "white space": b" \n\t",
    "no JSON": b"{nonsense",
    "cut off": b'{"type":"ping"',
    "a text": b'"ping"',
    "a number": b"7",
    "null": b"null",
    "an array": b'[{"type":"ping"}]',
    "no type": b"{}",
    "a type that is no text": b'{"type":7}',
    "a type of null": b'{"type":null}',
    "an unknown type": b'{"type":"pingpong"}',
    "a type in other case": b'{"type":"Ping"}',
    "a type with a separator": b'{"type":"invoke_function","function_id":"f"}',
    "a required field missing": b'{"type":"invokefunction","data":1}',
    "a required field of null": b'{"type":"unregisterfunction","id":null}',
    "NaN": b'{"type":"invokefunction","function_id":"f","data":NaN}',
    "infinity": b'{"type":"invokefunction","function_id":"f","data":-Infinity}',
    "a byte order mark": b'\xef\xbb\xbf{"type":"ping"}',
    "two values": b'{"type":"ping"}{"type":"ping"}',
    "a trailing comma": b'{"type":"ping",}',
    "a comment": b'{"type":"ping"} // quick',
    "single quotes": b"{'type':'ping'}",
    "a leading zero": b'{"type":"invokefunction","function_id":"f","data":007}',
    "a bad escape": b'{"type":"unregisterfunction","id":"\\x41"}',
    "half a surrogate pair": b'{"type":"invokefunction","function_id":"f","data":"\\ud800"}',
    "a control character in a text": b'{"type":"unregisterfunction","id":"a\nb"}',
    "a traceparent that is no text": invoke(traceparent=7),
    "a baggage that is no text": invoke(baggage=["a=b"]),
    "a namespace that is no text": invoke(namespace={}),
    "an invocation_id that is no text": invoke(invocation_id=7),
    "a result without its ids": b'{"type":"invocationresult","result":1}',
    "a result whose traceparent is no text": result({"code": "C", "message": "m"}, traceparent=7),
    "an error that is no JSON": b'{"type":"invocationresult","invocation_id":"i","function_id":"f","error":{code:1}}',
}


@pytest.mark.parametrize("text", DROPPED.values(), ids=DROPPED.keys())
def test_dropped(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(text)


@pytest.mark.parametrize(
    "action", ["void", 7, [], {}, {"type": "later"}, {"type": "enqueue"}, {"type": "enqueue", "queue": 1}]
)
def test_a_malformed_action_keeps_its_id_for_the_answer(action: Any) -> None:
    assert decode(invoke(action=action)) == BadAction("f", UUID)


def test_a_malformed_action_without_an_id_keeps_none() -> None:
    assert decode(invoke(action="void", invocation_id=None)) == BadAction("f", None)


def test_a_malformed_action_excuses_no_other_mistake() -> None:
    with pytest.raises(RemoteProtocolError):
        decode(invoke(action="void", namespace=7))


def test_what_the_official_sdks_leave_out() -> None:
    """C3: `data`, `config` and `description` may be missing."""
    assert decode(b'{"type":"invokefunction","function_id":"f"}') == InvokeFunction("f", data=ABSENT)
    trigger = decode(b'{"type":"registertrigger","id":"t","trigger_type":"cron","function_id":"f"}')
    assert trigger == RegisterTrigger("t", "cron", "f", config=ABSENT)
    assert decode(b'{"type":"registertriggertype","id":"bell"}') == RegisterTriggerType("bell")


def test_an_id_need_not_be_a_uuid() -> None:
    """C3; the bus maps it (# wire 37)."""
    message = decode(invoke(invocation_id="abc"))
    assert isinstance(message, InvokeFunction)
    assert message.invocation_id == "abc"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        pytest.param("it broke", ErrorBody("UNKNOWN", "it broke"), id="a text"),
        pytest.param(17, ErrorBody("UNKNOWN", "17"), id="a number"),
        pytest.param(True, ErrorBody("UNKNOWN", "true"), id="a bool"),
        pytest.param(["a", 1], ErrorBody("UNKNOWN", '["a", 1]'), id="an array"),
        pytest.param({"why": "x"}, ErrorBody("UNKNOWN", '{"why": "x"}'), id="other members"),
        pytest.param({"code": "C"}, ErrorBody("UNKNOWN", '{"code": "C"}'), id="no message"),
        pytest.param({"code": 404, "message": "m"}, ErrorBody("404", "m"), id="a number for the code"),
        pytest.param(
            {"code": 404, "message": "m", "stacktrace": "at x"}, ErrorBody("404", "m", "at x"), id="with a stack trace"
        ),
        pytest.param(
            {"code": "C", "message": "m", "stacktrace": 7}, ErrorBody("C", "m"), id="a stack trace that is no text"
        ),
        pytest.param(
            {"code": True, "message": "m"},
            ErrorBody("UNKNOWN", '{"code": true, "message": "m"}'),
            id="a bool for the code",
        ),
        pytest.param(
            {"code": "C", "message": 1},
            ErrorBody("UNKNOWN", '{"code": "C", "message": 1}'),
            id="a number for the message",
        ),
    ],
)
def test_an_error_of_another_shape_still_ends_the_call(sent: Any, meant: ErrorBody) -> None:
    """# wire 104"""
    assert decode(result(sent)) == InvocationResult(UUID, "f", error=meant)


def test_an_error_of_null_is_success() -> None:
    """# wire 104"""
    assert decode(result(None, result=1)) == InvocationResult(UUID, "f", result=Raw(b"1"))
    assert decode(result(None)) == InvocationResult(UUID, "f")


def test_the_last_of_repeated_keys_counts() -> None:
    assert decode(b'{"type":"unregisterfunction","id":"a","id":"b"}') == UnregisterFunction("b")


def test_the_announcement_as_a_message() -> None:
    """C3: documented for 0.11, sent by no SDK."""
    said = decode(b'{"type":"registerworker","runtime":"go","name":"n","pid":7,"telemetry":{"language":"de","x":1}}')
    assert said == RegisterWorker(runtime="go", name="n", pid=7, telemetry=Telemetry(language="de"))


@pytest.mark.parametrize("pid", [-1, 4294967296, 1.5, "7"])
def test_a_process_id_is_an_unsigned_32_bit_integer(pid: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(json.dumps({"type": "registerworker", "pid": pid}).encode())


@pytest.mark.parametrize("member", ["data", "unknown"])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_beyond_the_parsers_depth_is_dropped(member: str, opening: bytes, closing: bytes) -> None:
    """Not a crash, whether the value is kept or skipped."""
    for depth in (100_000, 3_000_000):
        nested = opening * depth + b"1" + closing * depth
        with pytest.raises(RemoteProtocolError):
            decode(b'{"type":"invokefunction","function_id":"f","%b":%b}' % (member.encode(), nested))


def test_nesting_as_people_write_it_passes() -> None:
    nested = b'{"a":[' * 100 + b"1" + b"]}" * 100
    message = decode(b'{"type":"invokefunction","function_id":"f","data":%b}' % nested)
    assert isinstance(message, InvokeFunction)
    assert bytes(message.data) == nested


@given(st.one_of(st.binary(max_size=200), st.text(max_size=80).map(str.encode)))
@example(b'{"type":"\xff"}')
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert isinstance(decode(data), Struct)


def test_any_damage_to_a_message_is_a_message_or_a_protocol_error() -> None:
    """Each byte of a message in turn replaced by each of a few others, or taken out."""
    text = invoke(data={"a": [1, "ä\\"]}, action={"type": "void"}, metadata=None)
    for place in range(len(text)):
        for byte in (b"", b'"', b"{", b"\x00", b"\xff", b",", b"e"):
            damaged = text[:place] + byte + text[place + 1 :]
            try:
                message = decode(damaged)
            except RemoteProtocolError:
                continue
            assert isinstance(message, InvokeFunction | BadAction | Ping)
