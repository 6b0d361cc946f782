"""A call that `Bus.pass_on` routes is routed as `Bus.invoke_from` does it; a text that comes alone is read as any other."""

import struct
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_outlet import Outlet
from wire_strategies import JSON_OBJECTS, JSON_TEXTS

from iii_trio.kernel import Function, Ids, Kernel, Limits, ModuleOwner, Worker
from iii_trio.protocol import decode
from iii_trio.protocol.messages import InvocationResult, InvokeFunction
from iii_trio.sockets import FrameSplitter

IDS = [f"0d2f4c1e-7a6b-4a53-8f3e-2b7f5d9c1a2{digit}" for digit in range(3)]


@attrs.frozen
class Conditions:
    """What a call meets."""

    draining: bool = False
    closing: bool = False
    without_outlet: bool = False
    read_at_most: int | None = None
    room: int = 1 << 30
    in_all: int = 10
    per_caller: int = 10


async def _nothing(_: object) -> None:
    raise AssertionError("nothing runs here")


class World:
    """A kernel, a caller, and a worker that runs `f`, `g` under a name of its own, and `f` elsewhere."""

    def __init__(self, conditions: Conditions) -> None:
        limits = Limits(conditions.per_caller, conditions.in_all)
        self.kernel = Kernel(ids=Ids(Random(1)), limits=limits)
        self.to_caller, self.to_executor = Outlet(), Outlet(conditions.room)
        self.caller = self.kernel.connect(outlet=self.to_caller)
        self.executor = self.kernel.connect(outlet=self.to_executor)
        for name, where, own in (("f", "default", None), ("g", "default", 'g"'), ("f", "elsewhere", None)):
            self.kernel.functions.add(Function(name, self.executor, where, own_id=own))
        self.kernel.functions.add(Function("own", self.caller))
        self.kernel.functions.add(Function("here", self.executor, handler=_nothing))
        gone = ModuleOwner("gone", "gone", available=False)
        self.kernel.functions.add(Function("gone", gone, handler=_nothing))
        self.kernel.bus.draining = conditions.draining
        self.executor.closing = conditions.closing
        self.executor.receive_limit = conditions.read_at_most
        if conditions.without_outlet:
            self.executor.outlet = None

    def say(self, by: Worker, text: bytes, *, passing: bool) -> None:
        message = decode(text)
        bus = self.kernel.bus
        if isinstance(message, InvocationResult):
            bus.result_from(by, message)
        elif isinstance(message, InvokeFunction) and not (passing and bus.pass_on(by, message, text)):
            bus.invoke_from(by, message, text)

    @property
    def seen(self) -> Any:
        """Everything that somebody can see of it."""
        kernel = self.kernel
        rows = [(row.id, row.function.id, row.reply_id, row.traceparent, row.baggage) for row in kernel.ledger]
        owned = sorted(self.caller.calling), sorted(self.executor.executing), sorted(self.caller.executing)
        return self.to_caller.sent, self.to_executor.sent, rows, owned, kernel.ledger.statistics(), kernel.bus.refused


SPACE = st.sampled_from([b"", b" ", b"\n\t"])
ODD_DATA = [b"{ }", b"{}", b'{"_caller_worker_id":1}', b'{"a":"_caller_worker_id"}', b'{ "a":1 }', b"null"]
ODD_IDS = [IDS[0].upper(), IDS[1].replace("-", ""), "a", "", '\\"']
RARE = {
    b"namespace": [b"null", b'"default"', b'"elsewhere"', b'""', b'" "'],
    b"action": [b"null", b'{"type":"void"}'],
    b"metadata": [b"null", b"{}"],
    b"traceparent": [b"null", b'""', b'"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"'],
    b"baggage": [b"null", b'"a=1"'],
}
"""Members that most calls do not have."""


ODD_FUNCTIONS = [b'"own"', b'"here"', b'"gone"', b'"no"', b'"\\u0066"']
ODDITIES = ["nothing", "nothing", "nothing", "function", "id", "data", "member", "member", "left out", "all"]


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """An `invokefunction`, most of them common in all or all but one thing; members in any order and with white space."""
    odd = draw(st.sampled_from(ODDITIES))

    def one_of(what: str, common: st.SearchStrategy[bytes], others: st.SearchStrategy[bytes]) -> bytes:
        return draw(common | others if odd == "all" else others if odd == what else common)

    members = {
        b"function_id": one_of("function", st.sampled_from([b'"f"', b'"g"']), st.sampled_from(ODD_FUNCTIONS)),
        b"invocation_id": b'"%b"'
        % one_of("id", st.sampled_from(IDS).map(str.encode), st.sampled_from(ODD_IDS).map(str.encode)),
        b"data": one_of("data", JSON_OBJECTS | st.just(b'{"a":1}'), JSON_TEXTS | st.sampled_from(ODD_DATA)),
    }
    for name in (
        draw(st.lists(st.sampled_from(sorted(RARE)), max_size=2, unique=True)) if odd in {"member", "all"} else ()
    ):
        members[name] = draw(st.sampled_from(RARE[name]))
    left_out = draw(st.sampled_from([b"invocation_id", b"data"])) if odd == "left out" else b""
    order = [name for name in draw(st.permutations(list(members))) if name != left_out]
    space = draw(SPACE)
    parts = [b'"type":"invokefunction"', *(b'"%b":%b%b%b' % (name, space, members[name], space) for name in order)]
    return b"{" + b",".join(parts) + b"}"


ANSWERS = st.builds(
    '{{"type":"invocationresult","invocation_id":"{}","function_id":"f","result":[1]}}'.format, st.sampled_from(IDS)
).map(str.encode)
CONDITIONS = st.one_of(
    st.just(Conditions()),
    st.sampled_from([Conditions(draining=True), Conditions(closing=True), Conditions(without_outlet=True)]),
    st.builds(Conditions, read_at_most=st.integers(100, 300), room=st.integers(100, 300) | st.just(1 << 30)),
    st.builds(Conditions, in_all=st.integers(0, 3), per_caller=st.integers(0, 3)),
)


def compare(conditions: Conditions, messages: list[tuple[bool, bytes]]) -> None:
    """Have them said in two worlds, where ids are the same, by the caller or else by the worker it calls."""
    worlds = World(conditions), World(conditions)
    for by_caller, text in messages:
        for world, passing in zip(worlds, (True, False), strict=True):
            is_answer = b"invocationresult" in text
            world.say(world.caller if by_caller and not is_answer else world.executor, text, passing=passing)
        assert worlds[0].seen == worlds[1].seen


@given(CONDITIONS, st.lists(st.tuples(st.booleans(), calls() | calls() | ANSWERS), max_size=8))
@settings(max_examples=200, deadline=None)
def test_calls_of_workers(conditions: Conditions, messages: list[tuple[bool, bytes]]) -> None:
    compare(conditions, messages)


def common(members: dict[bytes, bytes]) -> bytes:
    """The common call but for these members."""
    usual = {b"function_id": b'"f"', b"invocation_id": b'"%b"' % IDS[0].encode(), b"data": b'{"a":1}'}
    return b'{"type":"invokefunction",%b}' % b",".join(b'"%b":%b' % member for member in (usual | members).items())


ANSWER = b'{"type":"invocationresult","invocation_id":"%b","function_id":"f","result":[1]}' % IDS[0].encode()
ODD: list[dict[bytes, bytes]] = [
    {},
    *({name: value} for name, values in RARE.items() for value in values),
    *({b"data": data} for data in ODD_DATA),
    *({b"invocation_id": b'"%b"' % one.encode()} for one in ODD_IDS),
    *({b"function_id": function} for function in ODD_FUNCTIONS),
]


@pytest.mark.parametrize("members", ODD, ids=str)
@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(),
        Conditions(draining=True),
        Conditions(closing=True),
        Conditions(without_outlet=True),
        Conditions(in_all=1),
        Conditions(per_caller=1),
        *(Conditions(read_at_most=size) for size in range(168, 178)),
        *(Conditions(room=size) for size in range(168, 178)),
    ],
    ids=str,
)
def test_calls_that_are_common_but_for_one_thing(conditions: Conditions, members: dict[bytes, bytes]) -> None:
    call = common(members)
    compare(conditions, [(True, call), (True, call), (True, common({})), (False, ANSWER), (True, call)])


@given(
    st.sampled_from([b"\x81\xfe", b"\x81\xff", b"\x81\xfd", b"\x01\xfe", b"\xc1\xfe", b"\x82\xfe", b"\x81\x7e"]),
    st.integers(0, 300),
    st.integers(-2, 2),
    st.binary(min_size=4, max_size=4),
    st.sampled_from([b"a", b"\xff", b"\xc3\xa4"]),
)
@example(b"\x81\xfe", 125, 0, bytes(4), b"a")
@example(b"\x81\xfe", 126, 0, bytes(4), b"a")
@settings(max_examples=300, deadline=None)
def test_a_frame_that_comes_alone(start: bytes, size: int, more: int, key: bytes, letter: bytes) -> None:
    """Whatever its header says, it is taken as a text only where splitting gives just that text and nothing else."""
    data = memoryview(start + struct.pack("!H", size) + key + letter * max(size + more, 0))
    splitter = FrameSplitter()
    sole = FrameSplitter().sole_text(data)
    batch: list[bytes | memoryview] = []
    position, _ = splitter.split(data, 0, batch)
    if sole is not None:
        assert (batch, position, splitter.ended, splitter.answer) == ([sole], len(data), None, [])
