"""The load, a process of its own: `python -m tests.bench.driver single|saturated|flood|probe ...`; prints one line of JSON.

picows on uvloop because a client slower than the router would measure itself. It is no part of the engine: nothing of
`iii_trio` is imported here.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path

import orjson
import uvloop

from .peers import Caller, connect, connect_echo
from .results import percentile

ECHO, FLOODED, PROBED = "bench::echo", "bench::flooded", "bench::probed"
_TICKS = os.sysconf("SC_CLK_TCK")


def payload_of(size: int) -> bytes:
    """A JSON object of about `size` bytes."""
    bare = orjson.dumps({"source": "bench", "value": 42, "pad": ""})
    return orjson.dumps({"source": "bench", "value": 42, "pad": "x" * (size - len(bare))})


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def measure(callers: Sequence[Caller], pid: int, warm_up: float, seconds: float) -> dict[str, float]:
    """Let the callers call, `warm_up` seconds unobserved, then `seconds`. Raises RuntimeError if a call failed."""
    for caller in callers:
        caller.start()
    await asyncio.sleep(warm_up)
    for caller in callers:
        caller.latencies.clear()
    calls, cpu, began = -sum(caller.answered for caller in callers), -cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    calls += sum(caller.answered for caller in callers)
    cpu += cpu_seconds(pid)
    took = time.perf_counter() - began
    latencies = sorted(latency for caller in callers for latency in caller.latencies)
    check(callers, calls)
    for caller in callers:
        await caller.stop()
    return {"calls": calls, "per_s": calls / took, "cpu_us": cpu / calls * 1e6, **quantiles(latencies)}


def check(callers: Sequence[Caller], calls: int) -> None:
    """Raises RuntimeError unless all went well: figures of failing calls are worth nothing."""
    failed = sum(caller.failed for caller in callers)
    if failed or not calls or any(caller.is_lost for caller in callers):
        raise RuntimeError(f"{calls} calls were answered, {failed} of them wrongly, or a connection was lost")


def quantiles(latencies: Sequence[float]) -> dict[str, float]:
    """p50 and p99 of ordered latencies, in microseconds; zeros where none were noted."""
    p50, p99 = (percentile(latencies, share) * 1e6 for share in (0.5, 0.99)) if latencies else (0.0, 0.0)
    return {"p50_us": p50, "p99_us": p99}


async def run_single(options: argparse.Namespace) -> dict[str, float]:
    """One caller with one call at a time."""
    return await run_calls(options, callers=1, depth=1)


async def run_saturated(options: argparse.Namespace) -> dict[str, float]:
    """Two callers with 32 calls in flight each."""
    return await run_calls(options, callers=2, depth=32)


async def run_calls(options: argparse.Namespace, callers: int, depth: int) -> dict[str, float]:
    """Callers that call one worker."""
    await connect_echo(options.port, ECHO)
    make = partial(Caller, ECHO, payload_of(options.size), depth=depth)
    connected = [await connect(options.port, partial(make, name)) for name in range(1, callers + 1)]
    return await measure(connected, options.pid, options.warm_up, options.seconds)


async def run_flood(options: argparse.Namespace) -> dict[str, float]:
    """One caller with `depth` calls in flight until SIGTERM; says `ready` once all are under way."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await connect_echo(options.port, FLOODED, batched=True)
    flooder = partial(Caller, FLOODED, payload_of(options.size), 1, depth=options.depth, batched=True)
    caller = await connect(options.port, flooder)
    caller.start()
    print("ready", flush=True)
    calls, began = -caller.answered, time.perf_counter()
    await stop.wait()
    calls += caller.answered
    check([caller], calls)
    return {"per_s": calls / (time.perf_counter() - began)}


async def run_probe(options: argparse.Namespace) -> dict[str, float]:
    """One call at a time for `seconds`: to the flooded worker, or to one of this process."""
    function_id = FLOODED
    if options.worker == "own":
        function_id = PROBED
        await connect_echo(options.port, function_id)
    caller = await connect(options.port, lambda: Caller(function_id, payload_of(options.size), 2))
    figures = await measure([caller], options.pid, options.warm_up, options.seconds)
    return {name: figures[name] for name in ("calls", "p50_us", "p99_us")}


_MODES: dict[str, Callable[[argparse.Namespace], Coroutine[None, None, Mapping[str, float]]]] = {
    "single": run_single,
    "saturated": run_saturated,
    "flood": run_flood,
    "probe": run_probe,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="load a router with calls")
    parser.add_argument("mode", choices=_MODES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True, help="the router's process, for its CPU time")
    parser.add_argument("--size", type=int, default=150, help="bytes of payload")
    parser.add_argument("--depth", type=int, default=1000, help="calls in flight of a flood")
    parser.add_argument("--worker", choices=("own", "flooded"), default="own", help="whom a probe calls")
    parser.add_argument("--warm-up", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    logging.getLogger("picows").setLevel(logging.ERROR)  # its warnings are about the back pressure we are after
    print(json.dumps(uvloop.run(_MODES[options.mode](options))), flush=True)


if __name__ == "__main__":
    main()
