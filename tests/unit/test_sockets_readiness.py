"""Many idle sockets are watched at once, and each tells when it can be read."""

import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from iii_trio.sockets import Readiness

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(3)]
    yield made
    for one in made:
        for end in one:
            end.close()


async def test_those_that_can_be_read_are_called_and_no_others(pairs: list[Pair]) -> None:
    readiness, called = Readiness(), []
    for number, (near, _) in enumerate(pairs):
        readiness.watch(near.fileno(), lambda number=number: called.append(number))
    pairs[2][1].send(b"x")
    pairs[0][1].send(b"x")
    with trio.fail_after(5):
        await readiness.wait()
    readiness.collect()
    assert sorted(called) == [0, 2]
    pairs[0][0].recv(1)
    readiness.forget(pairs[2][0].fileno())
    readiness.collect()
    assert sorted(called) == [0, 2]
    readiness.close()


async def test_a_call_may_end_the_watch_of_another_socket(pairs: list[Pair]) -> None:
    readiness, called = Readiness(), []

    def end_all() -> None:
        called.append(1)
        for near, _ in pairs:
            readiness.forget(near.fileno())

    for near, far in pairs:
        readiness.watch(near.fileno(), end_all)
        far.send(b"x")
    readiness.collect()
    assert called == [1]
    readiness.close()


async def test_closing_lets_go_who_waits() -> None:
    readiness = Readiness()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await readiness.wait()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        readiness.close()
    readiness.collect()
    with pytest.raises(trio.ClosedResourceError):
        await readiness.wait()
