"""A call inside one process beside the spawn of a Trio task: `python -m tests.bench.in_process BATCHES`, one line of JSON.

The spawn is the whole of `nursery.start_soon(child, event); await event.wait()` in a nursery that is open already,
with a child that sets the event: making a task, running it and being woken by it, which is the least that work done in
a task of its own costs.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from iii_trio import open_engine

_PER_BATCH = 500
_CONFIG = {"workers": [{"name": "iii-worker-manager", "config": {"host": "127.0.0.1"}}]}
_PAYLOAD = {"order": 42}
Costs = dict[str, Callable[[], Awaitable[object]]]


async def set_event(event: trio.Event) -> None:
    event.set()


async def spawn(nursery: trio.Nursery) -> None:
    event = trio.Event()
    nursery.start_soon(set_event, event)
    await event.wait()


async def answer(payload: Any) -> Any:
    return payload


async def time_batch(once: Callable[[], Awaitable[object]]) -> float:
    """Microseconds per call of `once` over one batch."""
    began = time.perf_counter()
    for _ in range(_PER_BATCH):
        await once()
    return (time.perf_counter() - began) / _PER_BATCH * 1e6


async def measure(batches: int) -> dict[str, float]:
    """The best batch of each cost; the costs take turns, so that a noisy moment hits them alike."""
    taken: dict[str, list[float]] = defaultdict(list)
    async with (
        open_engine(_CONFIG, port=0) as engine,
        engine.worker("callee") as callee,
        engine.worker("caller") as caller,
        trio.open_nursery() as nursery,
    ):
        callee.register_function("bench::answer", answer)
        engine.register("bench::embedded", answer)
        costs: Costs = {
            "spawn_us": lambda: spawn(nursery),
            "worker_call_us": lambda: caller.trigger("bench::answer", _PAYLOAD),
            "engine_call_us": lambda: engine.invoke("bench::embedded", _PAYLOAD),
        }
        await time_batches(batches, costs, taken)
    return {name: min(times) for name, times in taken.items()}


async def time_batches(batches: int, costs: Costs, taken: dict[str, list[float]]) -> None:
    for _ in range(batches):
        for name, once in costs.items():
            taken[name].append(await time_batch(once))


if __name__ == "__main__":
    print(json.dumps(trio.run(measure, int(sys.argv[1]))))
