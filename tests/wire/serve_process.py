"""`iii-trio` as a process of its own, its output line by line, and its end."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0  # seconds: far more than it takes, on a machine that does other things besides


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


@attrs.define(eq=False)
class ServeProcess:
    process: trio.Process
    _rest: bytes = b""

    async def line(self) -> str | None:
        """The next line of stdout; None at the end."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            data = await self.process.stdout.receive_some(65536)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def lines_until(self, text: str) -> list[str]:
        """Every line up to one that contains `text`."""
        lines: list[str] = []
        while not lines or text not in lines[-1]:
            line = await self.line()
            assert line is not None, f"ended before it said {text!r}: {lines} {await self.errors()}"
            lines.append(line)
        return lines

    async def rest(self) -> list[str]:
        """Every line to the end."""
        lines: list[str] = []
        while (line := await self.line()) is not None:
            lines.append(line)
        return lines

    async def errors(self) -> str:
        """Stderr to its end."""
        assert self.process.stderr is not None
        return b"".join([bytes(data) async for data in self.process.stderr]).decode()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        return await self.process.wait()


@asynccontextmanager
async def serving(*words: str, cwd: Path, **env: str) -> AsyncIterator[ServeProcess]:
    """Start `iii-trio` with these words; killed at the end if it still runs."""
    command = [sys.executable, "-m", "iii_trio", *words]
    with trio.fail_after(DEADLINE):
        process = await trio.lowlevel.open_process(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=environment(**env)
        )
        try:
            yield ServeProcess(process)
        finally:
            if process.poll() is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                await pipe.aclose()
