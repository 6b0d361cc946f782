"""A worker whose process is stopped costs the others nothing, and gets everything when it goes on (wire-protocol 1.4)."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from served import GONE, ROOT, BytePeer, Served, open_served

from tests.waiting import eventually

pytestmark = pytest.mark.chaos
CALLS = 10_000
QUEUED, DATA = 3_000, "x" * 10_000  # 30 MB for who does not read
BATCH = 500
MIB = 1024 * 1024
BOUND = 80 * MIB  # 16 queued and 64 waiting behind them
SLACK = 30 * MIB
KEPT = 64 * MIB  # of its heap, for the next messages (iii_trio/commands/_memory.py)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Served]:
    async with open_served(tmp_path) as served:
        yield served


@asynccontextmanager
async def open_worker(engine: Served) -> AsyncIterator[trio.Process]:
    """A worker in a process of its own, registered."""
    program = Path(__file__).with_name("stopped_worker.py")
    process = await trio.lowlevel.open_process(
        [sys.executable, str(program), str(engine.port)], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        with trio.fail_after(30):
            assert (await process.stdout.receive_some()).startswith(b"ready")
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def call(function_id: str, number: int, data: str) -> bytes:
    members = {"function_id": function_id, "invocation_id": f"{number}", "data": {"text": data}}
    return json.dumps({"type": "invokefunction", **members}).encode()


async def echo(peer: BytePeer, outcomes: Counter[str]) -> None:
    """Answer every call for ever."""
    while True:
        message = await peer.message()
        outcomes["taken"] += 1
        ids = {name: message[name] for name in ("invocation_id", "function_id")}
        await peer.say_all([json.dumps({"type": "invocationresult", **ids, "result": 1}).encode()])


async def hear(peer: BytePeer, count: int, outcomes: Counter[str]) -> None:
    """Take that many results."""
    for _ in range(count):
        message = await peer.message()
        assert message["type"] == "invocationresult"
        error = message.get("error")
        outcomes[f"{message['function_id']} {error['code'] if error else 'reply'}"] += 1


async def test_ten_thousand_calls_pass_a_stopped_worker_by(engine: Served) -> None:
    """The same caller has 30 MB of calls queued for the stopped one, which answers them all in the end (# wire 107)."""
    outcomes: Counter[str] = Counter()
    async with open_worker(engine) as stopped, engine.peer() as honest, engine.peer() as caller:
        await honest.say_all([b'{"type":"registerfunction","id":"honest::echo"}'])
        await honest.fence()
        before = engine.memory
        stopped.send_signal(signal.SIGSTOP)
        for start in range(0, QUEUED, BATCH):
            await caller.say_all(call("stopped::echo", number, DATA) for number in range(start, start + BATCH))
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(echo, honest, outcomes)
                for start in range(0, CALLS, BATCH):
                    await caller.say_all(call("honest::echo", number, "") for number in range(start, start + BATCH))
                    await hear(caller, BATCH, outcomes)
                nursery.cancel_scope.cancel()
        assert outcomes == {"taken": CALLS, "honest::echo reply": CALLS}
        assert engine.memory < before + QUEUED * len(DATA) + SLACK
        stopped.send_signal(signal.SIGCONT)
        with trio.fail_after(30):
            await hear(caller, QUEUED, outcomes)
        assert outcomes["stopped::echo reply"] == QUEUED


async def test_calls_beyond_the_bound_are_refused_and_memory_is_bounded(engine: Served) -> None:
    """At the limits of 1.4: 80 MiB for one peer, whatever is thrown at it."""
    outcomes: Counter[str] = Counter()
    size, count = MIB // 2, 300
    async with open_worker(engine) as stopped, engine.peer() as caller:
        before = engine.memory
        stopped.send_signal(signal.SIGSTOP)
        for number in range(count):
            await caller.say_all([call("stopped::echo", number, "x" * size)])
        await caller.say_all([b'{"type":"ping"}'])
        while (message := await caller.message())["type"] != "pong":
            outcomes[message["error"]["code"]] += 1
        taken = count - outcomes["overloaded"]
        assert BOUND - 2 * size < taken * size < BOUND + 16 * MIB  # and what the system's buffers hold
        assert engine.memory < before + BOUND + SLACK
        stopped.send_signal(signal.SIGKILL)
        with trio.fail_after(10):
            await hear(caller, taken, outcomes)
        assert outcomes == {"overloaded": count - taken, "stopped::echo invocation_stopped": taken}


async def test_replies_beyond_the_bound_end_their_reader_and_nobody_else(engine: Served) -> None:
    """A caller that reads none of its replies is cut off; its memory comes back, others go on (# wire 107)."""
    size = 5 * MIB
    # What is freed of such messages goes back to the system, of smaller ones it may be kept for the next.
    async with open_worker(engine), engine.peer() as honest, engine.peer() as caller:
        before = engine.memory
        with pytest.raises(GONE), trio.fail_after(30):  # noqa: PT012  # which of them hears of the end is open
            for number in range(200):
                await caller.say_all([call("stopped::echo", number, "x" * size)])
                assert engine.memory < before + 2 * BOUND + SLACK  # calls wait for the one, replies for the other
        assert await honest.fence() == []
        # the worker still works off what was called
        await eventually(lambda: engine.memory <= before + KEPT, within=30)
