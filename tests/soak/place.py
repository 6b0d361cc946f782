"""Where a scenario takes place: an engine process that can be connected to and asked what it holds."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from iii_trio.testing import RawWorker, open_raw_worker
from tests.process import forget_peak, peak

from .watch import Sample, residue

ROOT = Path(__file__).parents[2]
_PATIENCE = 15.0


@attrs.define(eq=False)
class Place:
    """A running engine."""

    port: int
    http_port: int
    process: trio.Process
    _answers: bytes = b""

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[RawWorker]:
        """A worker that is gone, its connection cut, when the block ends."""
        async with open_raw_worker(await self.connect()) as worker:
            yield worker

    async def connect(self) -> trio.SocketStream:
        """A bare connection, for scenarios that speak for themselves."""
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    def forget_peak(self) -> int:
        """Let `peak` begin anew; the bytes that are resident now."""
        return forget_peak(self.process.pid)

    @property
    def peak(self) -> int:
        """Most bytes of the engine that were resident at once."""
        return peak(self.process.pid)

    async def sample(self) -> Sample:
        """Ask the engine what it holds. Raises EOFError if it has ended."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")
        return Sample(**json.loads(await self.line()))

    async def line(self) -> bytes:
        """The next line the engine says. Raises EOFError if it has ended."""
        assert self.process.stdout is not None
        while b"\n" not in self._answers:
            data = await self.process.stdout.receive_some()
            if not data:
                raise EOFError(f"the engine has ended with exit code {await self.process.wait()}")
            self._answers += data
        line, _, self._answers = self._answers.partition(b"\n")
        return line

    async def rest(self, baseline: Sample) -> tuple[Sample, list[str]]:
        """Wait until a round has left nothing; what it holds then, and what is left after 15 s all the same."""
        now = await self.sample()
        with trio.move_on_after(_PATIENCE):
            while residue(baseline, now):
                await trio.sleep(0.1)
                now = await self.sample()
        return now, residue(baseline, now)


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    """Run an engine for the length of a block."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.soak.engine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        place = Place(0, 0, process)
        place.port, place.http_port = map(int, (await place.line()).split())
        yield place
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
