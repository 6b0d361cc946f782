"""A payload crosses the kernel byte for byte, in both directions (style: payloads stay encoded; wire-protocol 5.2)."""

import json

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_outlet import Outlet
from wire_strategies import JSON_OBJECTS, JSON_TEXTS

from iii_trio.kernel import Function, Kernel, Worker
from iii_trio.protocol import decode
from iii_trio.protocol.messages import InvocationResult, InvokeFunction

ID = "0d2f4c1e-7a6b-4a53-8f3e-2b7f5d9c1a22"
UNREADABLE = b"1e400"
"""A number that is JSON and that the engine does not decode: it passes all the same."""

HUGE = b'{"n":123456789012345678901234567890,"f":0.1000000000000000055511151231257827,"e":1E400,"k":1,"k":2}'


@attrs.define
class Pair:
    """A caller and the worker that runs `f`."""

    kernel: Kernel = attrs.field(factory=Kernel)
    caller: Worker = attrs.field(init=False)
    executor: Worker = attrs.field(init=False)
    to_caller: Outlet = attrs.field(factory=Outlet)
    to_executor: Outlet = attrs.field(factory=Outlet)

    def __attrs_post_init__(self) -> None:
        self.caller = self.kernel.connect(outlet=self.to_caller)
        self.executor = self.kernel.connect(outlet=self.to_executor)
        self.kernel.functions.add(Function("f", self.executor))

    def invoke(self, data: bytes, more: bytes = b"") -> bytes:
        """What the executor is sent for a call with this `data`."""
        text = b'{"type":"invokefunction","function_id":"f","invocation_id":"%b","data":%b%b}' % (
            ID.encode(),
            data,
            more,
        )
        message = decode(text)
        assert isinstance(message, InvokeFunction)
        self.kernel.bus.invoke_from(self.caller, message, text)
        return self.to_executor.sent.pop()

    def answer(self, member: bytes) -> bytes:
        """What the caller is sent for a result with this member."""
        message = decode(
            b'{"type":"invocationresult","invocation_id":"%b","function_id":"f"%b}' % (ID.encode(), member)
        )
        assert isinstance(message, InvocationResult)
        self.kernel.bus.result_from(self.executor, message)
        return self.to_caller.sent.pop()


def head() -> bytes:
    return b'{"type":"invokefunction","invocation_id":"%b","function_id":"f","data":' % ID.encode()


@given(JSON_TEXTS.filter(lambda text: not text.startswith(b"{")))
@example(b"123456789012345678901234567890")
@settings(max_examples=150, deadline=None)
def test_data_that_is_no_object_arrives_as_it_was_sent(data: bytes) -> None:
    """# wire 31"""
    assert Pair().invoke(data) == head() + data + b"}"


@given(JSON_OBJECTS)
@example(HUGE)
@example(b"{}")
@example(b"{ \n}")
@settings(max_examples=150, deadline=None)
def test_an_object_gets_its_caller_as_the_last_member_and_keeps_its_bytes(data: bytes) -> None:
    """# wire 31"""
    pair = Pair()
    kept = data[:-1] if json.loads(data) else b"{"
    comma = b"," if json.loads(data) else b""
    member = b'"_caller_worker_id":"%b"}' % pair.caller.id.encode()
    assert pair.invoke(data) == head() + kept + comma + member + b"}"


@given(JSON_OBJECTS, st.sampled_from(['"_caller_worker_id"', '"_caller_worker\\u005fid"', '"_caller_worker_id" ']))
@settings(max_examples=60, deadline=None)
def test_a_caller_cannot_name_another(data: bytes, key: str) -> None:
    """Whichever of the repeated keys a parser takes, where the key is written plainly; the last one where it is not."""
    pair = Pair()
    forged = data[:-1] + (b"," if json.loads(data) else b"") + key.encode() + b':"somebody else"}'
    received = pair.invoke(forged)
    assert json.loads(received)["data"] == {**json.loads(forged), "_caller_worker_id": pair.caller.id}
    if "\\" not in key and UNREADABLE not in data:
        assert b"somebody else" not in received


@given(JSON_TEXTS.filter(lambda text: text != b"null"))
@example(HUGE)
@settings(max_examples=150, deadline=None)
def test_metadata_arrives_as_it_was_sent(metadata: bytes) -> None:
    """# wire 38"""
    assert Pair().invoke(b"1", b',"metadata":' + metadata) == head() + b'1,"metadata":' + metadata + b"}"


@given(JSON_TEXTS.filter(lambda text: text != b"null"))
@example(HUGE)
@settings(max_examples=150, deadline=None)
def test_a_result_comes_back_as_it_was_given(result: bytes) -> None:
    """# wire 26"""
    pair = Pair()
    pair.invoke(b"1")
    expected = b'{"type":"invocationresult","invocation_id":"%b","function_id":"f","result":%b}' % (ID.encode(), result)
    assert pair.answer(b',"result":' + result) == expected


def test_a_result_of_null_is_left_out() -> None:
    """# wire 27"""
    pair = Pair()
    for member in (b',"result":null', b',"error":null', b""):
        pair.invoke(b"1")
        answer = pair.answer(member)
        assert answer == b'{"type":"invocationresult","invocation_id":"%b","function_id":"f"}' % ID.encode()
