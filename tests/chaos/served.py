"""The engine as a process of its own, and peers that speak to it byte by byte."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio
from hostile import text_frame
from websockets.frames import CloseCode

from tests.process import resident

ROOT = Path(__file__).parents[2]
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: engine\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@attrs.define(eq=False)
class Served:
    """A running engine process."""

    process: trio.Process
    port: int
    log: Path

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return resident(self.process.pid)

    @property
    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator["BytePeer"]:
        """A connection after the handshake, greeted."""
        async with await self.connect() as stream:
            peer = BytePeer(stream)
            await peer.say(HANDSHAKE)
            await peer.hear_until(b"\r\n\r\n")
            await peer.message()
            yield peer


@attrs.define(eq=False)
class BytePeer:
    """Reads and writes frames by hand."""

    stream: trio.abc.Stream
    received: bytearray = attrs.field(factory=bytearray)

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def say_all(self, texts: Iterable[bytes]) -> None:
        await self.say(b"".join(map(text_frame, texts)))

    async def hear_until(self, mark: bytes) -> bytes:
        while mark not in self.received:
            await self._more()
        head, _, rest = bytes(self.received).partition(mark)
        self.received = bytearray(rest)
        return head

    async def message(self) -> dict[str, Any]:
        """The next text message of the engine, which sends short ones whole."""
        text: dict[str, Any] = json.loads(await self._frame())
        return text

    async def _frame(self) -> bytes:
        while len(self.received) < 4 or len(self.received) < self._end():
            await self._more()
        start, end = self._start(), self._end()
        frame = bytes(self.received[start:end])
        del self.received[:end]
        return frame

    def _start(self) -> int:
        return 4 if self.received[1] == 126 else 2

    def _end(self) -> int:
        size = self.received[1]
        return self._start() + (int.from_bytes(self.received[2:4], "big") if size == 126 else size)

    async def _more(self) -> None:
        data = await self.stream.receive_some(65_536)
        assert data, f"the engine ended the connection after {bytes(self.received)!r}"
        self.received += data

    async def fence(self) -> list[dict[str, Any]]:
        """Wait until everything said before has been handled; returns what was answered to it."""
        await self.say_all([b'{"type":"ping"}'])
        heard = []
        while (message := await self.message())["type"] != "pong":
            heard.append(message)
        return heard

    async def end(self) -> int | None:
        """Say no more and wait for the end; the status of the engine's `Close`, if it sent one."""
        assert isinstance(self.stream, trio.SocketStream)
        with suppress(*GONE):
            await self.stream.send_eof()
        return await self.wait_ended()

    async def wait_ended(self) -> int | None:
        """Wait for the end; the status of the engine's `Close`, if it sent one."""
        with suppress(*GONE):
            while data := await self.stream.receive_some(65_536):
                self.received += data
        found = re.search(rb"\x88\x02(..)$", bytes(self.received), re.DOTALL)
        return None if found is None else CloseCode(int.from_bytes(found[1], "big"))


@asynccontextmanager
async def open_served(folder: Path) -> AsyncIterator[Served]:
    """Run `iii-trio serve` on a free port with its log in a file; it must end well."""
    config, log = folder / "config.yaml", folder / "log.txt"
    await trio.Path(config).write_text("workers: []\n")
    command = [sys.executable, "-m", "iii_trio", "serve", "--config", str(config), "--host", "127.0.0.1", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment
        )
    try:
        yield Served(process, await _port(process, log), log)
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            assert await process.wait() == 0
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _port(process: trio.Process, log: Path) -> int:
    with trio.fail_after(30):
        while process.poll() is None:
            if found := re.search(r"listener on 127\.0\.0\.1:(\d+)", await trio.Path(log).read_text()):
                return int(found[1])
            await trio.sleep(0.02)
    raise AssertionError(await trio.Path(log).read_text())
