"""The outbox of a socket worker: its bounds, and what waits for the next connection."""

from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.protocol.errors import Overloaded
from iii_trio.worker._outbox import Frame, Outbox


def frame(size: int, *, keep: bool = True) -> Frame:
    return Frame(b"x" * size, keep)


async def test_bytes_are_bounded_but_one_message_always_fits(autojump_clock: Any) -> None:
    outbox = Outbox(max_bytes=100)
    await outbox.put(frame(1_000))
    with pytest.raises(Overloaded):
        await outbox.put(frame(1))
    outbox.open([])
    assert len((await outbox.get()).data) == 1_000
    await outbox.put(frame(60))
    await outbox.put(frame(40))
    with trio.move_on_after(1) as deadline:
        await outbox.put(frame(1))
    assert deadline.cancelled_caught
    await outbox.get()
    await outbox.put(frame(1))
    assert len(outbox) == 2


async def test_order_is_kept_and_what_a_connection_says_first_comes_first(autojump_clock: Any) -> None:
    outbox = Outbox()
    await outbox.put(Frame(b"call", keep=True))
    outbox.open([b"1", b"2"])
    outbox.put_nowait(Frame(b"registration"))
    assert [(await outbox.get()).data for _ in range(4)] == [b"1", b"2", b"call", b"registration"]


async def test_only_calls_outlive_a_connection(autojump_clock: Any) -> None:
    outbox = Outbox()
    outbox.open([b"hello"])
    outbox.put_nowait(Frame(b"registration"))
    await outbox.put(Frame(b"call", keep=True))
    outbox.close()
    assert len(outbox) == 1
    outbox.open([])
    assert (await outbox.get()).data == b"call"


async def test_waiters_get_in_when_there_is_room_and_lose_nothing(autojump_clock: Any) -> None:
    outbox = Outbox(max_frames=10)
    outbox.open([])
    seen: list[bytes] = []

    async def put(number: int) -> None:
        await outbox.put(Frame(b"%d" % number, keep=True))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(put, number)
        await trio.testing.wait_all_tasks_blocked()
        assert len(outbox) == 10
        while len(seen) < 100:
            seen.append((await outbox.get()).data)
            assert len(outbox) <= 10
    assert sorted(map(int, seen)) == list(range(100))


async def test_losing_the_connection_refuses_who_waits_for_room(autojump_clock: Any) -> None:
    outbox = Outbox(max_frames=1)
    outbox.open([])
    await outbox.put(frame(1))
    async with trio.open_nursery() as nursery:

        async def refused() -> None:
            with pytest.raises(Overloaded):
                await outbox.put(frame(1))

        async def unanswered() -> None:
            await outbox.put_reply(frame(2, keep=False), connection=1)

        nursery.start_soon(refused)
        nursery.start_soon(unanswered)
        nursery.start_soon(outbox.wait_room)
        nursery.start_soon(outbox.wait_flushed)
        await trio.testing.wait_all_tasks_blocked()
        outbox.close()
    assert len(outbox) == 1
    outbox.open([])
    await outbox.put_reply(frame(3, keep=False), connection=1)  # of the connection before
    assert len(outbox) == 1


async def test_flushed_means_written(autojump_clock: Any) -> None:
    outbox = Outbox()
    outbox.open([])
    await outbox.put(frame(1))
    flushed = trio.Event()

    async def wait() -> None:
        await outbox.wait_flushed()
        flushed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await outbox.get()
        await trio.testing.wait_all_tasks_blocked()
        assert not flushed.is_set()  # taken, but not yet written
        with trio.move_on_after(1):
            await outbox.get()
        assert flushed.is_set()


async def test_withdrawing(autojump_clock: Any) -> None:
    outbox = Outbox(max_bytes=10)
    first, second = frame(5), frame(5)
    await outbox.put(first)
    await outbox.put(second)
    outbox.withdraw(first)
    outbox.withdraw(first)
    await outbox.put(frame(5))
    assert len(outbox) == 2
