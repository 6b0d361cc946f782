"""A request answered on its shortcut and one that goes the long way cannot be told apart: by client, function, log, or what is left."""

import json
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from http_rig import MemoryNetwork, Rig, TcpNetwork, request, serving
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from trio.testing import MockClock

from iii_trio.kernel import Call, Function, Item, Kernel, TrioClock, Worker
from iii_trio.modules.http import HttpConfig
from iii_trio.modules.http.config import CorsConfig
from iii_trio.modules.http.shortcut import FunctionShortcut
from iii_trio.protocol import ErrorBody, Payload
from iii_trio.protocol.errors import FunctionFailed, InvocationError, Overloaded
from iii_trio.protocol.messages import InvocationResult

JSON = {"content-type": "application/json"}
ORIGIN = "http://o.example"
_CHANCE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}(-[0-9a-f]{16})?\b|0x[0-9a-f]+|(?<=error_id..)\W?[0-9a-f]+"
    r"|(?<=error_id )[0-9a-f]+"
)


def known(text: str) -> str:
    """Without what chance or the clock has put there."""
    return _CHANCE.sub("#", text)


@attrs.define
class Seen:
    """All that somebody could tell two ways apart by."""

    answers: list[Any] = attrs.field(factory=list)
    given: list[Any] = attrs.field(factory=list)
    """What the functions were called with."""

    lines: list[str] = attrs.field(factory=list)
    left: Any = None
    """Of rows once all is over."""


class Outlet:
    """A worker's outlet: what is sent to it is answered by `script`."""

    is_full = False
    most = 1 << 20

    def __init__(self, seen: Seen, script: "Callable[[Scene, dict[str, Any]], Any]") -> None:
        self.seen, self.script = seen, script
        self.scene: Scene

    def has_room(self, size: int) -> bool:
        return size <= self.most

    async def wait_room(self) -> None:
        await trio.sleep(1)
        self.is_full = False

    def send(self, pieces: Any, size: int) -> None:
        text = b"".join(map(bytes, pieces))
        assert len(text) == size
        self.seen.given.append(known(text.decode()))
        self.scene.calls.send_nowait((self.script, json.loads(text)))


@attrs.define
class Scene:
    """A running module and a worker beside it."""

    rig: Rig
    worker: Worker
    calls: trio.MemorySendChannel[Any]

    def answer(self, call: dict[str, Any], result: bytes = b"", error: ErrorBody | None = None) -> None:
        """The worker's answer to a call."""
        self.rig.kernel.bus.result_from(
            self.worker, InvocationResult(call["invocation_id"], call["function_id"], Raw(result), error)
        )

    def end_of(self, ref: dict[str, str]) -> Any:
        channel = self.rig.kernel.channels.find(ref["channel_id"], ref["access_key"])
        assert channel is not None
        return channel


async def play(calls: trio.MemoryReceiveChannel[Any], scene: Scene) -> None:
    async for script, call in calls:
        outcome = script(scene, call)
        if hasattr(outcome, "__await__"):
            scene.rig.nursery.start_soon(_await, outcome)


async def _await(outcome: Any) -> None:
    await outcome


Script = Callable[[Scene, dict[str, Any]], Any]
"""What a worker does with a call."""


async def look(
    script: Script | None, handler: Any, asked: list[bytes], config: HttpConfig, *, tcp: bool, method: str
) -> Seen:
    """Ask one after the other, on one connection for as long as it lasts; a function of the engine or of a worker answers."""
    seen, records = Seen(), Records()
    logger = logging.getLogger("iii_trio")
    logger.addHandler(records)
    level, logger.propagate = logger.level, False  # pytest cannot report what is not Unicode
    logger.setLevel(logging.DEBUG)
    try:
        kernel = Kernel(clock=TrioClock())
        async with serving(config, TcpNetwork() if tcp else MemoryNetwork(), kernel) as rig:
            outlet = Outlet(seen, script or (lambda _, __: None))
            worker = kernel.connect(outlet=outlet)
            kernel.registrations.fix_namespace(worker, "default")
            sending, receiving = trio.open_memory_channel[Any](100)
            outlet.scene = scene = Scene(rig, worker, sending)
            rig.nursery.start_soon(play, receiving, scene)
            metadata = Payload.of({"team": "sales"})
            if script is not None:
                kernel.functions.add(Function("f", worker))
                rig.trigger("f", "/f/:id", method, metadata=metadata)
            else:
                rig.function("f", lambda call: handler(rig, call))
                rig.trigger("f", "/f/:id", method, metadata=metadata)
            rig.route("/after", {"body": "after"})
            slots = rig.module._gateway._slots.free
            for one in [*asked, *asked, request("GET", "/after")]:
                client = rig.clients[-1] if rig.clients else await rig.connect()
                await client.send(one)
                try:
                    answer = await client.read()
                    fields = [field for field in answer.fields if field[0] != "date"]
                    seen.answers.append((answer.line, fields, known(answer.body.decode("utf-8", "backslashreplace"))))
                    closed = ("connection", "close") in fields
                    assert not closed or await client.ends()
                except EOFError as end:
                    seen.answers.append(("cut", str(end)))
                    closed = True
                if closed:
                    await rig.connect()
            await trio.testing.wait_all_tasks_blocked(0.01 if tcp else 0.0)
            for call in rig.calls:
                traces = call.traceparent and known(call.traceparent), call.baggage, call.caller
                meta = call.metadata and call.metadata.value
                seen.given.append((call.function_id, known(bytes(call.payload.raw).decode()), meta, *traces))
            statistics = kernel.statistics()
            seen.left = statistics.invocations
            assert (statistics.channels.open, statistics.channels.items, statistics.channels.size) == (0, 0, 0)
            assert rig.module._gateway._slots.free == slots
        seen.lines = [known(line) for line in records.lines if "listening on" not in line]
    finally:
        logger.removeHandler(records)
        logger.setLevel(level)
        logger.propagate = True
    return seen


class Records(logging.Handler):
    """The lines of a log, with the last line of an exception, in their order."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        line = re.sub(r"from 127\.0\.0\.1[:0-9]*", "from #", record.getMessage())
        self.lines.append(f"{record.name} {record.levelname} {line} {error!r}")


async def both_ways(
    monkeypatch: pytest.MonkeyPatch,
    *asked: bytes,
    script: Script | None = None,
    handler: Any = None,
    config: HttpConfig | None = None,
    tcp: bool = False,
    method: str = "GET",
) -> Seen:
    """Ask twice each, on the short and on the long way; what was to be seen, the same of both."""
    settled = config or HttpConfig(host="127.0.0.1", port=0)
    short = await look(script, handler, list(asked), settled, tcp=tcp, method=method)
    with monkeypatch.context() as patch:
        patch.setattr(FunctionShortcut, "find", staticmethod(lambda *_: None))
        long = await look(script, handler, list(asked), settled, tcp=tcp, method=method)
    assert short.answers == long.answers
    assert short.given == long.given
    assert short.lines == long.lines
    assert short.left == long.left
    return short


GET = request("GET", "/f/1?a=b", {"origin": ORIGIN})


# --- what a function returns ------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [
        *[
            "content-type",
            "Content-Type",
            "x-a",
            "X-A",
            "set-cookie",
            "vary",
            "access-control-allow-origin",
            "connection",
            "content-length",
            "date",
            "x-é",
        ],
        *("transfer-encoding", "keep-alive", "b d", ""),
    ]
)
TEXTS = st.sampled_from(["text/plain", "close", "keep-alive", "é", "a\r\nb: c", " a ", "7", "chunked", "\x00", ""])
HEADERS = (
    st.dictionaries(NAMES, TEXTS | st.integers(0, 3) | st.none(), max_size=4)
    | st.lists(
        st.builds("{}: {}".format, NAMES, TEXTS) | st.sampled_from(["no colon", ":x"]) | st.integers(), max_size=4
    )
    | VALUES
)
STATUSES = st.sampled_from([99, 100, 101, 199, 200, 201, 204, 205, 206, 304, 418, 599, 600, 999, 1000, -1]) | VALUES
RESULTS = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "body": VALUES | st.just("x" * 20_000),
        "headers": HEADERS,
        "status_code": STATUSES,
        "statusCode": STATUSES,
        "more": VALUES,
    },
).filter(lambda value: value != {})


@given(result=RESULTS.filter(lambda value: value is not None), by_worker=st.booleans())
@example(result={"status_code": 204, "body": None}, by_worker=True)
@example(result={"statusCode": 150, "body": 1}, by_worker=False)
@example(result={"body": 10**400}, by_worker=False)
@example(result={"body": 1, "headers": {"date": "then"}}, by_worker=False)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_results(monkeypatch: pytest.MonkeyPatch, result: Any, *, by_worker: bool) -> None:
    """# http 42, 43, 44, 45, 47, 48, 49, 50"""
    script, handler = None, lambda _, __: result
    if by_worker:
        text = bytes(Payload.of(result).raw)
        script = lambda scene, call: scene.answer(call, text)  # noqa: E731
    trio.run(lambda: both_ways(monkeypatch, GET, script=script, handler=handler), clock=MockClock(autojump_threshold=0))


RAW = {
    "a lone surrogate": b'{"body":"\\ud800"}',
    "a lone surrogate as a name": b'{"body":1,"headers":{"\\udfff":"x"}}',
    "a number beyond a double": b'{"body":1e999}',
    "an integer beyond 64 bits": b'{"body":123456789012345678901234567890}',
    "deep": b'{"body":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "deep enough to be read": b'{"body":' + b"[" * 500 + b"]" * 500 + b"}",
    "repeated names": b'{"body":1,"body":2,"status_code":201,"status_code":202}',
    "a status as a double": b'{"body":1,"status_code":201.0}',
    "a huge status": b'{"body":1,"status_code":99999999999999999999999}',
    "white space": b'{ "body" : 1 }',
    "an empty object": b"{}",
    "an empty text": b'""',
    "nothing in a body": b'{"body":null}',
    "large": b'{"body":"' + b"x" * 100_000 + b'"}',
}


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("text", RAW.values(), ids=RAW.keys())
async def test_results_as_they_came(text: bytes, monkeypatch: pytest.MonkeyPatch, *, tcp: bool) -> None:
    await both_ways(monkeypatch, GET, script=lambda scene, call: scene.answer(call, text), tcp=tcp)


ERRORS = {
    "plain": ErrorBody("E", "no luck"),
    "with a trace": ErrorBody("E", "no luck", "line 1\nline 2\x1b[31m"),
    "empty": ErrorBody("", ""),
    "of the engine": ErrorBody(Overloaded.code, "too much"),
    "not found": ErrorBody("function_not_found", "Function g not found"),
    "not ASCII": ErrorBody("É", "\N{ROCKET}\r\n"),
    "not Unicode": ErrorBody("E", "\ud800"),
    "not Unicode in its code": ErrorBody("\ud800", ""),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
async def test_errors_of_workers(error: ErrorBody, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    """# http 51"""
    seen = await both_ways(monkeypatch, GET, script=lambda scene, call: scene.answer(call, b"", error))
    assert [answer[0].split()[1] for answer in seen.answers[:2]] == ["503" if error.code == "overloaded" else "500"] * 2


RAISED = [
    ValueError("no luck"),
    ValueError(""),
    ValueError("\ud800"),
    KeyError(1),
    InvocationError("no luck", code="MINE", stacktrace="here"),
    FunctionFailed("\udfff"),
    RecursionError("deep"),
    ExceptionGroup("both", [ValueError("1"), KeyError("2")]),
]


@pytest.mark.parametrize("error", RAISED, ids=repr)
async def test_functions_that_raise(
    error: Exception, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """# http 51"""

    async def fail(_: Rig, __: Call) -> Any:
        raise error

    async def fail_later(_: Rig, __: Call) -> Any:
        await trio.sleep(1)
        raise error

    await both_ways(monkeypatch, GET, handler=fail)
    await both_ways(monkeypatch, GET, handler=fail_later)


@pytest.mark.parametrize("value", [{1, 2}, {"body": {1, 2}}, {"body": "\ud800"}, {1: 2}, float("nan")], ids=repr)
async def test_results_that_json_cannot_carry(
    value: Any, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    await both_ways(monkeypatch, GET, handler=lambda _, __: value)


# --- what is written --------------------------------------------------------------------------------------------------


def writer_of(scene: Scene, call: dict[str, Any]) -> Any:
    return scene.end_of(call["data"]["response"]).open_writer()


def control(kind: str, **members: Any) -> Item:
    return Item(json.dumps({"type": kind, **members}).encode(), is_text=True)


HEAD = [control("set_status", status_code=206), control("set_headers", headers={"Content-Type": "text/x", "x-a": 1})]
WRITTEN = {
    "nothing": [],
    "a head": HEAD,
    "a head and bytes": [*HEAD, Item(b"a"), Item(b""), Item(b"b")],
    "bytes": [Item(b"abc")],
    "an empty piece": [Item(b"")],
    "a status that is none": [control("set_status", status_code=99), Item(b"a")],
    "a status without a body": [control("set_status", status_code=204), Item(b"a")],
    "a status of the framing": [control("set_status", status_code=101), Item(b"a")],
    "a length": [control("set_headers", headers={"content-length": "1"}), Item(b"abc")],
    "too long a length": [control("set_headers", headers={"content-length": "9"}), Item(b"abc")],
    "a field out of its line": [control("set_headers", headers={"x-a": "1\r\nx: 2"}), Item(b"abc")],
    "the end of the connection": [control("set_headers", headers={"connection": "close"}), Item(b"abc")],
    "texts that are no control": [Item(b"[]", is_text=True), Item(b"\xc3", is_text=True), Item(b"abc")],
}
MOMENTS = ["before", "after", "with an error", "with a result", "broken", "broken before"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("items", WRITTEN.values(), ids=WRITTEN.keys())
async def test_written_answers(
    items: list[Item], moment: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """# http 55, 58, 59, 60, 61, 62, 67"""

    async def answer(scene: Scene, call: dict[str, Any]) -> None:
        writer = writer_of(scene, call)
        if moment in {"after", "broken"}:
            scene.answer(call, b"null")
            await trio.sleep(1)
        for item in items:
            await writer.send(item)
        if moment in {"before", "broken before"}:
            scene.answer(call, b"null")
            await trio.sleep(1)
        elif moment == "with an error":
            scene.answer(call, b"", ErrorBody("E", "late"))
            await trio.sleep(1)
        elif moment == "with a result":
            scene.answer(call, b'{"body":"returned"}')
            await trio.sleep(1)
        writer.close(broken=moment.startswith("broken"))

    await both_ways(monkeypatch, GET, script=answer)


async def test_a_body_that_is_read_and_an_answer_written_by_the_engines_own_function(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def echo(rig: Rig, call: Call) -> None:
        asked = call.payload.value
        body, answer = (
            rig.kernel.channels.find(asked[name]["channel_id"], asked[name]["access_key"])
            for name in ("request_body", "response")
        )
        assert body is not None
        assert answer is not None
        reader, writer = body.open_reader(), answer.open_writer()
        with suppress(trio.EndOfChannel):
            while True:
                await writer.send(await reader.receive())
        writer.close()
        reader.close()

    body = b'{"z":2, "a":"\xc3\xa9"}'
    seen = await both_ways(monkeypatch, request("POST", "/f/1", JSON, body), handler=echo, method="POST")
    assert seen.answers[0][2] == body.decode()


# --- no answer --------------------------------------------------------------------------------------------------------


async def leave(scene: Scene, _: dict[str, Any]) -> None:
    await trio.lowlevel.checkpoint()
    scene.rig.kernel.disconnect(scene.worker)


async def leave_while_writing(scene: Scene, call: dict[str, Any]) -> None:
    writer = writer_of(scene, call)
    await writer.send(HEAD[0])
    scene.rig.kernel.disconnect(scene.worker)
    writer.close(broken=True)


async def open_and_forget(scene: Scene, call: dict[str, Any]) -> None:
    writer_of(scene, call)
    await trio.sleep(1)


async def withdraw(scene: Scene, call: dict[str, Any]) -> None:
    scene.rig.kernel.functions.remove(scene.worker, "default", "f")
    await trio.sleep(1)
    scene.answer(call, b'{"body":"the last"}')


SILENT: dict[str, Script] = {
    "null": lambda scene, call: scene.answer(call, b"null"),
    "no result": lambda scene, call: scene.answer(call),
    "leaves": leave,
    "leaves while it writes": leave_while_writing,
    "opens and forgets": open_and_forget,
    "withdraws the function": withdraw,
    "never answers": lambda _, __: None,
}


@pytest.mark.parametrize("script", SILENT.values(), ids=SILENT.keys())
async def test_workers_without_an_answer(
    script: Script, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """# http 52, 53, 54, 63"""
    await both_ways(monkeypatch, GET, script=script)


def fill(scene: Scene, call: dict[str, Any]) -> None:
    scene.worker.outlet.is_full = True  # type: ignore[union-attr, misc]
    scene.answer(call, b'{"body":1}')


def leave_no_room(scene: Scene, call: dict[str, Any]) -> None:
    scene.worker.outlet.most = 10  # type: ignore[union-attr]
    scene.answer(call, b'{"body":1}')


def read_little(scene: Scene, call: dict[str, Any]) -> None:
    scene.worker.receive_limit = 10
    scene.answer(call, b'{"body":1}')


def close(scene: Scene, call: dict[str, Any]) -> None:
    scene.answer(call, b'{"body":1}')
    scene.worker.closing = True


@pytest.mark.parametrize(
    ("script", "statuses"),
    [(fill, "200 200"), (leave_no_room, "200 503"), (read_little, "200 500"), (close, "200 500")],
)
async def test_workers_that_cannot_be_called(
    script: Script, statuses: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    seen = await both_ways(monkeypatch, GET, script=script)
    assert [answer[0].split()[1] for answer in seen.answers[:2]] == statuses.split()


async def test_functions_that_are_killed(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    async def die(rig: Rig, call: Call) -> None:
        child = rig.kernel.ledger.rows[call.invocation_id].child
        assert child is not None
        child.cancel("a test")
        await trio.sleep_forever()

    async def owner_leaves(rig: Rig, _: Call) -> None:
        rig.kernel.ledger.stop_executions(rig.host)
        await trio.sleep_forever()

    await both_ways(monkeypatch, GET, handler=die)
    await both_ways(monkeypatch, GET, handler=owner_leaves)


async def test_a_function_whose_module_is_being_restarted(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def leave_once(rig: Rig, _: Call) -> Any:
        rig.host.available = False
        return {"body": 1}

    seen = await both_ways(monkeypatch, GET, handler=leave_once)
    assert [answer[0].split()[1] for answer in seen.answers] == ["200", "503", "503"]


# --- what is asked ----------------------------------------------------------------------------------------------------

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
ASKED = {
    "a query": request("POST", "/f/%2F?a=1&a=2&b&c=1+2%C3%A9&%ff=%ff"),
    "a trace": request("POST", "/f/1", {"traceparent": TRACE, "baggage": "a=1,b=2"}),
    "a trace that is none": request("POST", "/f/1", {"traceparent": TRACE.upper(), "baggage": ""}),
    "baggage alone": request("POST", "/f/1", {"baggage": 'a="\\'}),
    "no body": request("POST", "/f/1", JSON),
    "an empty body": request("POST", "/f/1", JSON, b""),
    "a body": request(
        "POST", "/f/1", {"content-type": "x/y+APPLICATION/JSON"}, b' {"a": [1, -0, 1e5, 12345678901234567890123]} '
    ),
    "a body that is no JSON": request("POST", "/f/1", JSON, b'{"a":}'),
    "a body with a mark": request("POST", "/f/1", JSON, b"\xef\xbb\xbf{}"),
    "a body that is not UTF-8": request("POST", "/f/1", JSON, b'"\xff"'),
    "a body with a lone surrogate": request("POST", "/f/1", JSON, b'"\\ud800"'),
    "a body with a percent sign": request("POST", "/f/%s%25", JSON, b'"%s%d"'),
    "a body of another type": request("POST", "/f/1", {"content-type": "text/plain"}, b"abc"),
    "no bytes of another type": request("POST", "/f/1", {"content-type": "text/plain"}, b""),
    "a length of zeros": request("POST", "/f/1", {"content-length": "000"}),
    "fields": request("POST", "/f/1", {"x-a": "1", "X-A": "2", "x-b": "é", "authorization": "secret", "x-c": '"\\\t'}),
    "blank lines": b"\r\n\r\n" + request("POST", "/f/1"),
    "another target": b"POST http://elsewhere/f/1?x#y HTTP/1.1\r\nhost: a\r\n\r\n",
    "the end of the connection": request("POST", "/f/1", {"connection": "close"}),
    "another method": request("GET", "/f/1"),
    "no route": request("POST", "/g"),
    "a long head": request("POST", "/f/1", {"x-a": "a" * 5_000}),
    "an upgrade": request("POST", "/f/1", {"connection": "upgrade", "upgrade": "websocket"}),
    "an origin that is not known": request("POST", "/f/1", {"origin": "http://x.example"}),
    "an origin that is known": request("POST", "/f/1", {"origin": ORIGIN}),
}
LENIENT = HttpConfig(host="127.0.0.1", port=0)
STRICT = HttpConfig(
    host="127.0.0.1",
    port=0,
    body_limit=10,
    cors=CorsConfig((ORIGIN,), ("GET",)),
    ignore_trailing_slash=True,
    trust_proxy=True,
)


@pytest.mark.parametrize("config", [LENIENT, STRICT], ids=["lenient", "strict"])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
async def test_requests(
    asked: bytes, config: HttpConfig, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """# http 32, 33, 34, 35, 40, 80, 91, 100"""
    result = b'{"body":1}'
    await both_ways(
        monkeypatch, asked, script=lambda scene, call: scene.answer(call, result), config=config, method="POST"
    )
    await both_ways(monkeypatch, asked, handler=lambda _, __: {"body": 1}, config=config, method="POST")


async def test_requests_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await both_ways(monkeypatch, *ASKED.values(), handler=lambda _, __: {"body": 1}, tcp=True, method="POST")
    assert len(seen.answers) == 2 * len(ASKED) + 1
