"""Idle keep-alive connections against a server in a process of its own: `python http_idle.py SERVER COUNT`; one line of JSON.

The clients live in this process, the server in a child, so that neither runs out of files and memory is the server's alone.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import trio

ASK = b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n"
_SPARE = 300


def allow_files(wanted: int) -> None:
    """Raise the soft limit of open files; an error if the hard one is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"process {pid} has no resident memory")


async def serve(name: str) -> None:
    """Run a server until standard input ends; say its port first."""
    from http_rig import SERVER, serve_handler

    from iii_trio.modules.http import Request, Response, ServerLimits

    async def handle(_: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(200, (), b"ok")

    SERVER.set("hypercorn" if name == "hypercorn" else "fast")
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
    async with serve_handler(listeners, handle, ServerLimits(connections=20_000)):
        print(listeners[0].socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


class Tally:
    """What all clients together have seen; `wait` until there are so many answers."""

    answered = lost = expected = 0

    def __init__(self) -> None:
        self._reached = asyncio.Event()

    def count(self, answers: int) -> None:
        self.answered += answers
        if self.answered >= self.expected:
            self._reached.set()

    async def wait(self, expected: int) -> None:
        self.expected, self._reached = expected, asyncio.Event()
        self.count(0)
        async with asyncio.timeout(60):
            await self._reached.wait()


class Idler(asyncio.Protocol):
    """A client that asks when it is told to."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self) -> None:
        self.transport.write(ASK)  # type: ignore[attr-defined]  # it is a `Transport`

    def data_received(self, data: bytes) -> None:
        self.tally.count(data.count(b"HTTP/1.1 200"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.tally.lost += 1


async def hold(port: int, pid: int, count: int) -> dict[str, float]:
    """Open `count` connections, ask once on each, let them be idle, ask again; what that took."""
    loop, tally = asyncio.get_running_loop(), Tally()
    empty, began = resident_mib(pid), time.perf_counter()
    idlers = [(await loop.create_connection(lambda: Idler(tally), "127.0.0.1", port))[1] for _ in range(count)]
    await ask_all(idlers, tally, count)
    idle = resident_mib(pid)
    await ask_all(idlers, tally, 2 * count)
    return {
        "answered": tally.answered,
        "lost": tally.lost,
        "kib_each": (idle - empty) * 1024 / count,
        "seconds": time.perf_counter() - began,
    }


async def ask_all(idlers: list[Idler], tally: Tally, expected: int) -> None:
    for at, idler in enumerate(idlers):
        idler.ask()
        if at % 100 == 99:
            await asyncio.sleep(0)
    await tally.wait(expected)


def main(name: str, count: int) -> None:
    allow_files(count + _SPARE)
    command = [sys.executable, __file__, "serve", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as server:
        try:
            assert server.stdout is not None
            print(json.dumps(asyncio.run(hold(int(server.stdout.readline()), server.pid, count))))
        finally:
            server.kill()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        trio.run(serve, sys.argv[2])
    else:
        main(sys.argv[1], int(sys.argv[2]))
