"""Load over HTTP: `python -m tests.bench.http_load --port N --pid N --path /x --connections N`; prints one line of JSON.

On uvloop and httptools, as far as possible in C: a client slower than the server would measure itself.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from typing import cast

import httptools
import uvloop

from .driver import cpu_seconds, quantiles

BODY = b'{"source":"bench","value":42,"items":["a","b","c"]}'


class Asker(asyncio.Protocol):
    """One connection with one request at a time. Another takes its place when the server ends it, as bare hypercorn does."""

    def __init__(self, path: str, port: int) -> None:
        self.answered = self.failed = 0
        self.is_running = False
        self.latencies: list[float] = []
        self._began = 0.0
        self._port = port
        self._reconnecting: asyncio.Task[None] | None = None
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\naccept: */*\r\n"
        self._request = f"{head}content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own
        self._parser = httptools.HttpResponseParser(self)
        if self.is_running:
            self.start()

    def start(self) -> None:
        self.is_running = True
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.answered += 1
        self.failed += self._parser.get_status_code() != 200
        self.latencies.append(time.perf_counter() - self._began)
        self.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reconnecting = asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)


async def measure(options: argparse.Namespace) -> dict[str, float]:
    """Ask on every connection, `warm_up` seconds unobserved, then `seconds`. Raises RuntimeError if an answer was not 200."""
    askers = [Asker(options.path, options.port) for _ in range(options.connections)]
    for asker in askers:
        await asker.connect()
    for asker in askers:
        asker.start()
    await asyncio.sleep(options.warm_up)
    for asker in askers:
        asker.latencies.clear()
    calls, cpu, began = -answers(askers), -cpu_seconds(options.pid), time.perf_counter()
    await asyncio.sleep(options.seconds)
    calls += answers(askers)
    cpu += cpu_seconds(options.pid)
    took = time.perf_counter() - began
    latencies = sorted(latency for asker in askers for latency in asker.latencies)
    if not calls or any(asker.failed for asker in askers):
        raise RuntimeError(f"{calls} requests were answered, not all of them with 200")
    return {"calls": calls, "per_s": calls / took, "cpu_us": cpu / calls * 1e6, **quantiles(latencies)}


def answers(askers: Sequence[Asker]) -> int:
    return sum(asker.answered for asker in askers)


def parse() -> argparse.Namespace:
    """The options of a load; times in seconds."""
    parser = argparse.ArgumentParser(description="load an HTTP server with requests")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True, help="the server's process, for its CPU time")
    parser.add_argument("--path", required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--warm-up", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=3.0)
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(parse()))), flush=True)
