"""One whole engine with three workers and an http route, in memory, virtual time and seeded chance; prints its trace.

Run as `trace_program.py CHANCE ORDER...`: CHANCE seeds ids, delays and choices of the scenario, each ORDER the scheduler
of one run. Prints a line of JSON per run: every kernel event as (virtual time, kind, id). Equal seeds, equal lines,
whatever PYTHONHASHSEED (which must be set, and here shuffles addresses, too).
"""

import json
import os
import sys
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import attrs
import trio
import trio.testing
from trio._core import _run as scheduler

from iii_trio import Engine, open_engine
from iii_trio.kernel import TrioClock
from iii_trio.testing import MemoryNetwork, RawWorker, TraceEntry, kernel_trace, open_raw_worker

CONFIG = {"workers": [{"name": "iii-http", "config": {"host": "memory", "port": 3111}}]}
ROUNDS = 32
NAMES = ("a", "b", "c")


@attrs.define(eq=False)
class Scenario:
    engine: Engine
    network: MemoryNetwork
    random: Random
    nursery: trio.Nursery

    async def connect(self, stack: AsyncExitStack, name: str) -> RawWorker:
        stream = await self.network.connect(self.engine.address[1])
        worker = await stack.enter_async_context(open_raw_worker(stream))
        await worker.announce(name=name)
        await worker.register(f"{name}::echo", f"{name}::relay")
        for function in ("echo", "relay"):
            self.nursery.start_soon(self.serve, worker, f"{name}::{function}")
        await worker.fence()
        return worker

    async def serve(self, worker: RawWorker, function_id: str) -> None:
        while True:
            call = await worker.take("invokefunction", function_id=function_id)
            self.nursery.start_soon(self.run, worker, call)

    async def run(self, worker: RawWorker, call: dict[str, Any]) -> None:
        """`relay` passes the call on to another worker; both take their time."""
        await trio.sleep(self.random.choice((0.0, 0.01, 0.02)))
        if call["function_id"].endswith("::relay"):
            inner = await worker.call(f"{self.random.choice(NAMES)}::echo", call["data"])
            await worker.answer(call, **{key: inner[key] for key in ("result", "error") if key in inner})
        else:
            await worker.answer(call, result={"status_code": 200, "body": call["data"].get("n")})

    async def calls(self, worker: RawWorker, number: int) -> None:
        for n in range(ROUNDS):
            await trio.sleep(self.random.choice((0.0, 0.01, 0.05)))
            target = f"{self.random.choice((*NAMES, 'nobody'))}::{self.random.choice(('echo', 'relay'))}"
            await worker.call(target, {"n": n, "by": number})

    async def requests(self, count: int) -> None:
        for n in range(count):
            stream = await self.network.connect(3111)
            await stream.send_all(f"GET /echo/{n} HTTP/1.1\r\nhost: memory\r\nconnection: close\r\n\r\n".encode())
            while await stream.receive_some():
                pass
            await stream.aclose()

    async def open_route(self, worker: RawWorker) -> None:
        config = {"api_path": "/echo/:n", "http_method": "GET"}
        await worker.send("registertrigger", id="route", trigger_type="http", function_id="a::echo", config=config)
        await worker.fence()

    async def registrations(self, registrant: RawWorker, provider: RawWorker) -> None:
        """Triggers that wait for their type and others that find it, accepted one by one, and their end."""
        for n in range(8):
            await registrant.send("registertrigger", id=f"t{n}", trigger_type="bell", function_id="b::echo", config=n)
            if n == 5:
                await registrant.fence()
                await provider.send("registertriggertype", id="bell", description="")
                await provider.fence()
        for _ in range(8):
            offered = await provider.take("registertrigger")
            accepted = {key: offered[key] for key in ("id", "trigger_type", "function_id")}
            await provider.send("triggerregistrationresult", **accepted)
        for n in range(0, 8, 2):
            await registrant.send("unregistertrigger", id=f"t{n}")
        await registrant.fence()
        await provider.send("unregistertriggertype", id="bell")
        await provider.fence()


async def scenario(chance: int) -> list[TraceEntry]:
    network, random, traces = MemoryNetwork(), Random(chance), []
    async with (
        open_engine(
            CONFIG,
            host="127.0.0.1",
            network=network,
            clock=TrioClock(),
            random=Random(chance + 1),
            on_created=lambda engine: traces.append(kernel_trace(engine.kernel)),
        ) as engine,
        trio.open_nursery() as serving,
        AsyncExitStack() as stack,
    ):
        play = Scenario(engine, network, random, serving)
        workers = [await play.connect(stack, name) for name in NAMES]
        await play.open_route(workers[0])
        async with trio.open_nursery() as calling:
            for number in range(9):
                calling.start_soon(play.calls, workers[number % 3], number)
            calling.start_soon(play.requests, 6)
            calling.start_soon(play.registrations, workers[1], workers[2])
        serving.cancel_scope.cancel()
    return traces[0]


def scramble_memory(seed: int) -> list[bytes]:
    """Give objects made from now on other addresses, in another order: what hashes by address must not show."""
    random = Random(seed)
    ballast = [bytes(random.randrange(600)) for _ in range(40_000)]
    random.shuffle(ballast)
    return ballast[::2]


def main(chance: int, *orders: int) -> None:
    vars(scheduler)["_ALLOW_DETERMINISTIC_SCHEDULING"] = True  # what trio's own Hypothesis plug-in sets
    ballast = scramble_memory(int(os.environ["PYTHONHASHSEED"]))
    assert ballast
    for order in orders:
        scheduler._r.seed(order)
        trace = trio.run(scenario, chance, clock=trio.testing.MockClock(autojump_threshold=0))
        print(json.dumps(trace))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
