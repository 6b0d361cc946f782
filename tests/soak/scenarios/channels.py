"""A gibibyte through one data channel with a small window, and others that are broken off at either end meanwhile."""

from random import Random
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from iii_trio.testing import RawWorker
from tests.soak.place import Place
from tests.soak.watch import MIB

SIZE = 1024 * MIB
PIECE = 64 * 1024
LOOK = 64  # looks at the engine's memory per round
BROKEN_OFF = 50
EXTRA = 32 * MIB
"""Bytes the engine may hold more while everything flows: windows of a few pieces, and what the allocator keeps."""


@attrs.define(eq=False)
class Round:
    """One round."""

    place: Place
    random: Random
    nursery: trio.Nursery
    streams: list[trio.abc.Stream] = attrs.field(factory=list)

    async def open(self, ref: dict[str, str]) -> tuple[WebSocketConnection, trio.abc.Stream]:
        path = f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir={ref['direction']}"
        stream = await self.place.connect()
        self.streams.append(stream)
        return await wrap_client_stream(self.nursery, stream, "engine", path), stream

    async def pour(self, made: dict[str, Any]) -> None:
        """Write, and look at the engine now and then."""
        writer, _ = await self.open(made["writer"])
        before = (await self.place.sample()).memory
        for number in range(SIZE // PIECE):
            await writer.send_message(number.to_bytes(4, "big") + bytes(PIECE - 4))
            if number % (SIZE // PIECE // LOOK or 1) == 0:
                grown = (await self.place.sample()).memory - before
                assert grown < EXTRA, f"{grown / MIB:.1f} MiB more in the middle of a stream"
        await writer.aclose()

    async def drain(self, made: dict[str, Any]) -> None:
        """Read, now and then slowly; every item must come, in order."""
        reader, _ = await self.open(made["reader"])
        for number in range(SIZE // PIECE):
            item = await reader.get_message()
            assert item[:4] == number.to_bytes(4, "big")
            if self.random.random() < 0.002:
                await trio.sleep(0.05)
        try:
            surplus = await reader.get_message()
        except ConnectionClosed:
            return
        raise AssertionError(f"an item too many: {surplus[:20]!r}")

    async def break_off(self, made: dict[str, Any]) -> None:
        """Open both ends and cut one of them in the middle."""
        writer, writing = await self.open(made["writer"])
        reader, reading = await self.open(made["reader"])
        await writer.send_message(bytes(self.random.randrange(PIECE)))
        await reader.get_message()
        first, second = (writing, reading) if self.random.random() < 0.5 else (reading, writing)
        await trio.aclose_forcefully(first)
        await trio.aclose_forcefully(second)


async def _make(worker: RawWorker, size: int) -> dict[str, Any]:
    made: dict[str, Any] = (await worker.call("engine::channels::create", {"buffer_size": size}))["result"]
    return made


async def run(place: Place, random: Random) -> None:
    """Raises AssertionError if an item is lost, or if the engine holds more than windows in the middle."""
    async with place.worker() as worker, trio.open_nursery() as nursery:
        one = Round(place, random, nursery)
        made = await _make(worker, 8)
        async with trio.open_nursery() as working:
            working.start_soon(one.pour, made)
            working.start_soon(one.drain, made)
            for _ in range(BROKEN_OFF):
                await one.break_off(await _make(worker, 1))
        for stream in one.streams:
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()
