"""A gibibyte up and one down through HTTP, and requests that are broken off at either end meanwhile."""

import zlib
from contextlib import suppress
from random import Random
from typing import Any

import attrs
import trio

from iii_trio import connect
from iii_trio.worker import ChannelReader, ChannelWriter, Worker
from tests.soak.place import Place
from tests.soak.watch import MIB
from tests.wire.http_rig import Client, request

SIZE = 1024 * MIB
PIECE = 64 * 1024
BROKEN_OFF = 60
EXTRA = 32 * MIB
"""Bytes the engine may hold more while everything flows: windows of a few pieces, and what the allocator keeps."""


def piece(number: int) -> bytes:
    return number.to_bytes(4, "big") + bytes(PIECE - 4)


def checksum() -> int:
    """Of all pieces in their order."""
    found = 0
    for number in range(SIZE // PIECE):
        found = zlib.crc32(piece(number), found)
    return found


@attrs.define(eq=False)
class Round:
    """One round."""

    place: Place
    random: Random

    async def offer(self, worker: Worker) -> None:
        """Serve `POST /up`, `GET /down` and `POST /odd`, which breaks off whatever it is asked."""

        @worker.function("soak::up")
        async def up(asked: dict[str, Any]) -> dict[str, Any]:
            source: ChannelReader = asked["request_body"]
            size = found = 0
            async for item in source:
                size, found = size + len(item), zlib.crc32(item, found)
                if self.random.random() < 0.001:
                    await trio.sleep(0.05)
            return {"body": [size, found]}

        @worker.function("soak::down")
        async def down(asked: dict[str, Any]) -> None:
            answer: ChannelWriter = asked["response"]
            with suppress(trio.BrokenResourceError):
                async with answer:
                    for number in range(SIZE // PIECE):
                        await answer.send(piece(number))

        @worker.function("soak::odd")
        async def odd(asked: dict[str, Any]) -> None:
            answer: ChannelWriter = asked["response"]
            await answer.send(await asked["request_body"].receive())
            answer.close()

        for path, method in (("odd", "POST"), ("down", "GET"), ("up", "POST")):
            await worker.register_trigger("http", f"soak::{path}", {"api_path": path, "http_method": method})
        await worker.trigger("engine::workers::list", {})  # answered once all of that is in force

    async def connect(self) -> Client:
        return Client(await trio.open_tcp_stream("127.0.0.1", self.place.http_port))

    async def upload(self) -> None:
        client = await self.connect()
        async with client.stream:
            await client.send(request("POST", "/up", {"content-length": str(SIZE)}))
            for number in range(SIZE // PIECE):
                await client.send(piece(number))
            assert (await client.read()).json == [SIZE, checksum()]

    async def download(self) -> None:
        client, size, found = await self.connect(), 0, 0
        async with client.stream:
            await client.send(request("GET", "/down"))
            assert (await client.read_head()).status == 200
            while chunk := await client.read_chunk():
                size, found = size + len(chunk), zlib.crc32(chunk, found)
                if self.random.random() < 0.001:
                    await trio.sleep(0.05)
        assert (size, found) == (SIZE, checksum())

    async def break_off(self) -> None:
        """Leave in the middle of a body, or of an answer, or see the function break its answer off."""
        client = await self.connect()
        part = bytes(self.random.randrange(1, PIECE))
        match self.random.choice(("up", "down", "odd")):
            case "up":
                await client.send(request("POST", "/up", {"content-length": str(SIZE)}), part)
            case "down":
                await client.send(request("GET", "/down"))
                await client.read_head()
                await client.read_chunk()
            case "odd":
                await client.send(request("POST", "/odd", None, part))
                with suppress(EOFError, trio.BrokenResourceError):
                    await client.read()
                    raise AssertionError("an answer that was broken off looks complete")
        await trio.aclose_forcefully(client.stream)


async def run(place: Place, random: Random) -> None:
    """Raises AssertionError if a byte is lost, or if the engine holds more than windows in the middle."""
    one = Round(place, random)
    async with connect(f"ws://127.0.0.1:{place.port}", name="soak") as worker:
        await one.offer(worker)
        before = place.forget_peak()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.upload)
            nursery.start_soon(one.download)
            for _ in range(BROKEN_OFF):
                await one.break_off()
        grown = place.peak - before
        assert grown < EXTRA, f"{grown / MIB:.1f} MiB more in the middle of a stream"
