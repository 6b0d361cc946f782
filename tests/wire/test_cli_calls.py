"""`iii-trio trigger` and `tree` against a running engine, and against what is none (config-cli-modules 10.2)."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from iii_trio.cli import main
from iii_trio.engine import Engine, open_engine
from iii_trio.kernel import Function
from iii_trio.protocol import Payload
from iii_trio.protocol.errors import InvocationError
from iii_trio.worker import connect
from tests.process import free_port

QUIET = {"workers": [{"name": "iii-worker-manager", "config": {"host": "127.0.0.1"}}]}


@attrs.frozen
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in a thread, where it starts its own Trio."""

    async def run_there(*words: str) -> Outcome:
        with trio.fail_after(20):
            code = await trio.to_thread.run_sync(main, words)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run_there


@asynccontextmanager
async def engine_and_run(run: Run) -> AsyncIterator[tuple[Engine, Run]]:
    """An engine, and `trigger` with its port."""
    async with open_engine(QUIET, port=0) as engine:
        yield engine, partial(_with_port, run, str(engine.address[1]))


async def _with_port(run: Run, port: str, command: str, *words: str) -> Outcome:
    return await run(command, "--address", "127.0.0.1", "--port", port, *words)


async def add(payload: Any) -> Any:
    return {"sum": payload["a"] + payload["b"], "a": payload["a"]}


async def echo(payload: Any) -> Any:
    """The payload without what the engine adds to it (wire-protocol 5.5)."""
    if isinstance(payload, dict):
        payload.pop("_caller_worker_id")
    return payload


async def test_both_forms_of_trigger_print_the_result(run: Run) -> None:
    async with engine_and_run(run) as (engine, cli):
        engine.register("math::add", add)
        new = await cli("trigger", "math::add", "a=2", "b=3")  # config 58
        old = await cli("t", "--function-id=math::add", '--payload={"a":2,"b":3}')  # config 59
    assert new == old == Outcome(0, '{\n  "sum": 5,\n  "a": 2\n}\n', "")


async def test_values_are_printed_as_they_came(run: Run) -> None:
    async with engine_and_run(run) as (engine, cli):
        engine.register("echo", echo)
        nothing = await cli("trigger", "echo", "--json", "null")  # config 58
        text = await cli("trigger", "echo", "--json", '"é"')
        number = await cli("trigger", "echo", "n=123456789012345678901234567890")
        empty = await cli("trigger", "echo")
    assert nothing == Outcome(0, "", "")
    assert text.out == '"é"\n'
    assert number.out == '{\n  "n": 123456789012345678901234567890\n}\n'
    assert empty.out == "{}\n"


async def test_errors_go_to_stderr_as_json(run: Run) -> None:
    async def refuse(_: Any) -> Any:
        raise InvocationError("no such order", code="NO_ORDER", stacktrace="at line 1")

    async with engine_and_run(run) as (engine, cli):
        engine.register("orders::get", refuse)
        refused = await cli("trigger", "orders::get")  # config 61
        unknown = await cli("trigger", "orders::put")
    assert refused.code == unknown.code == 1
    assert refused.out == unknown.out == ""
    assert refused.err.startswith("Error: {\n  ")
    error = json.loads(refused.err.removeprefix("Error: "))
    assert error == {"code": "NO_ORDER", "message": "no such order", "stacktrace": "at line 1"}
    missing = json.loads(unknown.err.removeprefix("Error: "))
    assert missing["code"] == "function_not_found"
    assert missing["stacktrace"] is None


async def test_a_function_of_a_worker_in_a_namespace_is_reached(run: Run) -> None:
    async with engine_and_run(run) as (engine, cli):
        url = f"ws://127.0.0.1:{engine.address[1]}"
        async with connect(url, namespace="shop") as worker:
            worker.register_function("total", add)
            await worker.trigger("engine::functions::list", {})  # what went before has arrived
            there = await cli("trigger", "total", "a=1", "b=1", "-n", "shop")
            nowhere = await cli("trigger", "total", "a=1")
    assert json.loads(there.out) == {"sum": 2, "a": 1}
    assert (nowhere.code, nowhere.out) == (1, "")


async def test_help_describes_a_function_of_the_running_engine(run: Run) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    async with engine_and_run(run) as (engine, cli):
        owner = engine.kernel.functions.find("default", "engine::functions::list").owner
        function = Function("math::add", owner, handler=echo, description="Adds.", request_format=Payload.of(schema))
        engine.kernel.functions.add(function)
        described = await cli("trigger", "math::add", "--help")  # config 64
        unknown = await cli("trigger", "nope", "-h")
        elsewhere = await cli("trigger", "math::add", "-h", "-n", "shop")
    assert described.code == 0
    assert "Adds." in described.out
    assert '"type": "number"' in described.out
    assert unknown == Outcome(1, "", "error: function `nope` not found in engine registry.\n")
    assert elsewhere.code == 1
    assert "default" in elsewhere.err  # where it is


async def test_no_engine_is_an_error_within_the_timeout(run: Run, unused_port: int) -> None:
    at = ("--address", "127.0.0.1", "--port", str(unused_port))
    called = await run("trigger", "f", *at)  # config 62
    listed = await run("tree", *at)
    helped = await run("trigger", "f", "--help", *at)
    assert called == listed
    assert called.code == 1
    assert called.out == ""
    assert called.err == f"Error: cannot reach the engine at ws://127.0.0.1:{unused_port}: Connection refused\n"
    assert helped.code == 0
    assert helped.out.startswith("usage: iii-trio trigger")
    assert helped.err.startswith("note: nothing is known of `f`")


async def test_an_answer_that_does_not_come_is_waited_for_so_long(run: Run) -> None:
    async def never(_: Any) -> Any:
        await trio.sleep_forever()

    async with engine_and_run(run) as (engine, cli):
        engine.register("never", never)
        outcome = await cli("trigger", "never", "--timeout-ms", "200")
        engine.kill(f"invocations/{next(iter(engine.kernel.ledger.rows))}")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("Error: Timed out waiting for the engine at ws://127.0.0.1:")


async def test_what_is_no_engine_is_recognised(run: Run) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, refuse, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        outcome = await run("trigger", "f", "--address", "127.0.0.1", "--port", str(port))
        nursery.cancel_scope.cancel()
    assert outcome.code == 1
    assert "no engine (HTTP status 404)" in outcome.err


async def test_help_does_not_wait_long_for_an_engine_that_says_nothing(run: Run) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        before = trio.current_time()
        helped = await run("trigger", "f", "--help", "--address", "127.0.0.1", "--port", str(port))
        assert trio.current_time() - before < 1.9  # 2 s with the start of the program (10.2)
    assert helped.code == 0
    assert helped.out.startswith("usage: iii-trio trigger")
    assert "Timed out waiting for the engine" in helped.err


async def test_an_engine_that_goes_away_is_an_error(run: Run) -> None:
    async def stop(_: Any) -> Any:
        for connection in engine.tree().children[2].children:
            engine.kill(connection.path.removeprefix("root/"))
        await trio.sleep_forever()

    async with engine_and_run(run) as (engine, cli):
        engine.register("stop", stop)
        outcome = await cli("trigger", "stop")
        engine.kill(f"invocations/{next(iter(engine.kernel.ledger.rows), '')}")
    assert (outcome.code, outcome.out) == (1, "")
    assert "the connection was closed: 1006" in outcome.err


async def test_tree_shows_the_running_engine(run: Run) -> None:
    async with engine_and_run(run) as (_, cli):
        shown = await cli("tree")
        encoded = await cli("tree", "--json")
    assert shown.code == encoded.code == 0
    assert "\x1b" not in shown.out  # not a terminal
    assert shown.out.splitlines()[0] == "root  supervisor one_for_one  running"
    assert "│  ├─ iii-engine-functions  supervisor rest_for_one  running" in shown.out.splitlines()
    tree = json.loads(encoded.out)
    names = [child["path"] for child in tree["children"]]
    assert names == ["root/invocations", "root/modules", "root/connections", "root/listener", "root/drain"]


@pytest.fixture
def unused_port() -> int:
    """A port nobody listens on: it was free a moment ago."""
    return free_port()
