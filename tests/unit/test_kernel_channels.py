"""The two ends of a data channel inside the engine, and the registry (wire-protocol 10)."""

import json

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.kernel import Channel, ChannelLimits, EndTaken, Item, Kernel
from iii_trio.kernel.channel_registry import Promise, promise_template
from iii_trio.kernel.channels import PIECE, source_of
from iii_trio.protocol.errors import Overloaded

ONE, TWO = Item(b"one", is_text=True), Item(b"two")


async def test_items_go_from_one_end_to_the_other() -> None:
    channel = Kernel().channels.create()
    writer, reader = channel.open_writer(), channel.open_reader()
    await writer.send(ONE)
    writer.send_nowait(TWO)
    assert [await reader.receive(), reader.receive_nowait()] == [ONE, TWO]
    with pytest.raises(trio.WouldBlock):
        reader.receive_nowait()
    writer.close()
    with pytest.raises(trio.EndOfChannel):
        await reader.receive()
    assert not reader.broken


async def test_each_end_is_opened_once() -> None:
    channel = Kernel().channels.create()
    channel.open_writer()
    channel.open_reader()
    for open_again in (channel.open_writer, channel.open_reader, lambda: channel.feed(source_of(b""))):
        with pytest.raises(EndTaken):
            open_again()
    fed = Kernel().channels.create()
    fed.feed(source_of(b"x"))
    with pytest.raises(EndTaken):
        fed.open_writer()


async def test_a_full_channel_makes_the_writer_wait(autojump_clock: MockClock) -> None:
    channel = Kernel().channels.create(1)
    writer, reader = channel.open_writer(), channel.open_reader()
    writer.send_nowait(ONE)
    with pytest.raises(trio.WouldBlock):
        writer.send_nowait(TWO)
    with trio.move_on_after(1) as patience:
        await writer.send(TWO)
    assert patience.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.send, TWO)
        await trio.testing.wait_all_tasks_blocked()
        assert await reader.receive() == ONE
        assert await reader.receive() == TWO  # once: what was cancelled was not sent


@pytest.mark.parametrize("how", ["reader", "expiry"])
async def test_a_writer_learns_that_nobody_reads(autojump_clock: MockClock, how: str) -> None:
    kernel = Kernel()
    channel = kernel.channels.create(1)
    writer = channel.open_writer()
    writer.send_nowait(ONE)
    async with trio.open_nursery() as nursery:
        if how == "reader":
            nursery.start_soon(_close_later, channel)
        else:
            nursery.start_soon(kernel.channels.sweep)
        with pytest.raises(trio.BrokenResourceError):
            await writer.send(TWO)
        nursery.cancel_scope.cancel()
    assert kernel.channels.statistics().size == 0


async def _close_later(channel: object) -> None:
    reader = channel.open_reader()  # type: ignore[attr-defined]
    await trio.testing.wait_all_tasks_blocked()
    reader.close()


@pytest.mark.parametrize("end", ["reader", "writer"])
async def test_who_closes_an_end_cannot_go_on_with_it(autojump_clock: MockClock, end: str) -> None:
    channel = Kernel().channels.create(1)
    writer, reader = channel.open_writer(), channel.open_reader()
    if end == "writer":
        writer.send_nowait(ONE)
    wait = reader.receive if end == "reader" else lambda: writer.send(TWO)
    closing = reader.close if end == "reader" else writer.close

    async def close() -> None:
        await trio.testing.wait_all_tasks_blocked()
        closing()
        closing()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(trio.ClosedResourceError):
            await wait()


async def test_a_broken_writer_is_told_from_one_that_finished() -> None:
    channel = Kernel().channels.create()
    writer, reader = channel.open_writer(), channel.open_reader()
    writer.send_nowait(ONE)
    writer.close(broken=True)
    assert await reader.receive() == ONE
    with pytest.raises(trio.EndOfChannel):
        await reader.receive()
    assert reader.broken


async def test_a_reader_may_be_called_instead_of_waiting() -> None:
    channel = Kernel().channels.mint()
    seen: list[Item | str] = []

    def look() -> None:
        try:
            while True:
                seen.append(reader.receive_nowait())
        except trio.WouldBlock:
            return
        except trio.EndOfChannel:
            seen.append("end")

    reader = channel.open_reader(look)
    writer = channel.open_writer()
    writer.send_nowait(ONE)
    writer.send_nowait(TWO)
    writer.close()
    assert seen == [ONE, TWO, "end"]


async def test_bytes_are_pulled_when_a_reader_wants_them() -> None:
    kernel = Kernel()
    channel = kernel.channels.mint()
    asked = 0
    pieces = [b"a" * (PIECE + 1), b"b", b""]

    async def source() -> bytes:
        nonlocal asked
        asked += 1
        await trio.lowlevel.checkpoint()
        return pieces.pop(0)

    channel.feed(source)
    reader = channel.open_reader()
    assert asked == 0
    assert [await reader.receive() for _ in range(3)] == [Item(b"a" * PIECE), Item(b"a"), Item(b"b")]
    for _ in range(2):
        with pytest.raises(trio.EndOfChannel):
            await reader.receive()
    assert asked == 3
    reader.close()
    assert kernel.channels.statistics().open == 0


@pytest.mark.parametrize("how", ["end", "close"])
async def test_the_end_of_a_channel_ends_a_pull(autojump_clock: MockClock, how: str) -> None:
    channel = Kernel().channels.mint()
    channel.feed(trio.sleep_forever)  # type: ignore[arg-type]  # it never returns
    reader = channel.open_reader()

    async def end() -> None:
        await trio.testing.wait_all_tasks_blocked()
        channel.end() if how == "end" else reader.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        with pytest.raises(trio.EndOfChannel):
            await reader.receive()


async def test_a_cancelled_pull_takes_nothing(autojump_clock: MockClock) -> None:
    channel = Kernel().channels.mint()
    send, receive = trio.open_memory_channel[bytes](1)
    channel.feed(receive.receive)
    reader = channel.open_reader()
    with trio.move_on_after(1) as patience:
        await reader.receive()
    assert patience.cancelled_caught
    send.send_nowait(b"x")
    assert await reader.receive() == Item(b"x")


async def test_a_minted_channel_outlives_every_sweep_and_ends_when_it_is_told_to(autojump_clock: MockClock) -> None:
    kernel = Kernel()
    channel = kernel.channels.mint()
    reader = channel.open_reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.channels.sweep)
        await trio.sleep(10_000)
        assert kernel.channels.find(channel.id, channel.key) is channel
        nursery.cancel_scope.cancel()
    channel.end()
    assert kernel.channels.find(channel.id, channel.key) is None
    with pytest.raises(trio.EndOfChannel):
        await reader.receive()
    channel.end()


async def test_a_forgotten_channel_goes_on_between_its_open_ends() -> None:
    kernel = Kernel()
    channel = kernel.channels.mint()
    writer, reader = channel.open_writer(), channel.open_reader()
    kernel.channels.forget(channel)
    writer.send_nowait(ONE)
    assert await reader.receive() == ONE


async def test_what_may_be_known_at_once_is_bounded() -> None:
    kernel = Kernel(channel_limits=ChannelLimits(channels=1))
    first = kernel.channels.create()
    for make in (kernel.channels.create, kernel.channels.mint):
        with pytest.raises(Overloaded):
            make()
    first.end()
    kernel.channels.create()


@pytest.mark.parametrize("key", ["", "x", "\udcff", "k" * 10_000])
async def test_a_wrong_key_finds_nothing(key: str) -> None:
    kernel = Kernel()
    channel = kernel.channels.create()
    assert kernel.channels.find(channel.id, key) is None
    assert kernel.channels.find("nope", key) is None
    assert kernel.channels.find(channel.id, channel.key) is channel


async def test_statistics_add_up() -> None:
    kernel = Kernel()
    one, two = kernel.channels.create(), kernel.channels.create()
    writer, reader = one.open_writer(), one.open_reader()
    two.open_writer().send_nowait(ONE)
    for _ in range(3):
        writer.send_nowait(TWO)
    await reader.receive()
    counts = kernel.statistics().channels
    assert attrs.asdict(counts) == {"open": 2, "items": 3, "size": 3 * (3 + 256), "created": 2, "expired": 0}
    reader.close()
    assert kernel.channels.statistics().items == 1
    two.end()
    assert kernel.channels.statistics().size == 0


# --- promised ---------------------------------------------------------------------------------------------------------


def promised(limits: ChannelLimits | None = None) -> tuple[Kernel, list[tuple[Channel, Channel]], Promise]:
    kernel = Kernel(channel_limits=limits or ChannelLimits())
    kept: list[tuple[Channel, Channel]] = []
    return kernel, kept, kernel.channels.promise(kernel.ids.new(), lambda first, second: kept.append((first, second)))


def refs(promise: Promise) -> tuple[dict[str, str], dict[str, str]]:
    first, second = json.loads(promise.fill(promise_template("[%s,%s]", "read", "write")))
    return first, second


@pytest.mark.parametrize("number", [0, 1])
def test_promised_channels_are_made_when_one_is_to_be_opened(number: int) -> None:
    kernel, kept, promise = promised()
    ref = refs(promise)[number]
    assert kernel.channels.statistics().open == 2
    found = kernel.channels.find(ref["channel_id"], ref["access_key"])
    assert found is kept[0][number]
    assert [channel.id for channel in kept[0]] == [one["channel_id"] for one in refs(promise)]
    assert kernel.channels.find(ref["channel_id"], ref["access_key"]) is found
    assert kernel.channels.statistics().open == 2
    for channel in kept[0]:
        channel.end()
    assert (kernel.channels.statistics().open, len(kept)) == (0, 1)


def test_each_promised_channel_has_a_key_of_its_own() -> None:
    kernel, kept, promise = promised()
    first, second = refs(promise)
    assert {first["direction"], second["direction"]} == {"read", "write"}
    for channel_id, key in (
        (first["channel_id"], second["access_key"]),
        (second["channel_id"], first["access_key"]),
        (first["channel_id"], ""),
        (first["channel_id"][:-1] + "2", first["access_key"]),
        (first["channel_id"][:-1], first["access_key"]),
        ("", ""),
    ):
        assert kernel.channels.find(channel_id, key) is None
    assert kept == []


def test_what_was_withdrawn_is_not_there() -> None:
    kernel, kept, promise = promised()
    kernel.channels.withdraw(promise)
    kernel.channels.withdraw(promise)
    ref, _ = refs(promise)
    assert kernel.channels.find(ref["channel_id"], ref["access_key"]) is None
    assert (kernel.channels.statistics().open, kept) == (0, [])


async def test_promises_count_as_channels() -> None:
    kernel, _, promise = promised(ChannelLimits(channels=3))
    kernel.channels.create()
    for more in (kernel.channels.create, kernel.channels.mint, lambda: kernel.channels.promise("a", lambda *_: None)):
        with pytest.raises(Overloaded, match="there are 3 channels"):
            more()
    kernel.channels.withdraw(promise)
    kernel.channels.promise("b", lambda *_: None)
