"""Slots: as many requests at once as there are, the others in the order of arrival (http.md 8)."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.modules.http.slots import Slots


async def test_who_waited_longest_is_next(autojump_clock: MockClock) -> None:
    slots, order = Slots(1), list[int]()

    async def visit(number: int) -> None:
        await slots.take()
        order.append(number)
        await trio.sleep(1)
        slots.give_back()

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(visit, number)
            await trio.testing.wait_all_tasks_blocked()
            assert not slots.take_nowait()
    assert order == [0, 1, 2, 3]
    assert slots.free == 1


async def test_one_who_is_cancelled_leaves_the_slot_to_the_next(autojump_clock: MockClock) -> None:
    slots, served = Slots(1), trio.Event()
    assert slots.take_nowait()

    async def wait() -> None:
        await slots.take()
        served.set()

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await slots.take()
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        slots.give_back()
        await served.wait()
    assert slots.free == 0
    slots.give_back()
    assert slots.free == 1


async def test_cancelled_before_it_begins_nothing_is_taken() -> None:
    slots = Slots(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await slots.take()
    assert scope.cancelled_caught
    assert slots.free == 1


async def test_taking_is_a_checkpoint() -> None:
    slots = Slots(1)
    with trio.testing.assert_checkpoints():
        await slots.take()
    assert not slots.take_nowait()


@pytest.mark.parametrize("bound", [1, 3])
async def test_all_slots_come_back(bound: int, autojump_clock: MockClock) -> None:
    slots = Slots(bound)

    async def visit() -> None:
        await slots.take()
        await trio.sleep(1)
        slots.give_back()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(visit)
    assert slots.free == bound
