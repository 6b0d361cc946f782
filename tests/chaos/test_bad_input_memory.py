"""Bad input a thousand times over leaves the engine up, its memory where it was, and its other workers served."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import cycle, islice
from pathlib import Path
from random import Random

import pytest
import trio
from hostile import (
    INVALID_JSON,
    MESSAGES,
    UNKNOWN_TYPES,
    half_frame,
    oversize_frame,
    oversize_message,
    text_frame,
    wrong,
    wrong_announcements,
)
from served import GONE, BytePeer, Served, open_served

from tests.waiting import eventually

pytestmark = pytest.mark.chaos
REPETITIONS = 1_000
OVERSIZE = 10
AT_ONCE = 4
ALLOWED = 20 * 1024 * 1024  # bytes above the baseline


async def random_bytes_instead_of_a_handshake(engine: Served, random: Random) -> None:
    async with await engine.connect() as stream:
        peer = BytePeer(stream)
        await peer.say(random.randbytes(random.randrange(1, 2_000)))
        await peer.end()
        assert b" 101 " not in peer.received


async def random_bytes_instead_of_frames(engine: Served, random: Random) -> None:
    async with engine.peer() as peer:
        await peer.say(random.randbytes(random.randrange(1, 2_000)))
        await peer.end()


async def a_frame_that_is_cut_off(engine: Served, random: Random) -> None:
    async with engine.peer() as peer:
        await peer.say(half_frame(random))
        await peer.end()


async def a_connection_that_is_reset(engine: Served, random: Random) -> None:
    """With a call under way and half a frame sent."""
    async with engine.peer() as peer:
        call = b'{"type":"invokefunction","function_id":"honest::echo","invocation_id":"1","data":{}}'
        await peer.say(text_frame(call) + half_frame(random))


CONNECTIONS = (
    random_bytes_instead_of_a_handshake,
    random_bytes_instead_of_frames,
    a_frame_that_is_cut_off,
    a_connection_that_is_reset,
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Served]:
    async with open_served(tmp_path) as served:
        yield served


async def check_engine(engine: Served, baseline: int, descriptors: int) -> None:
    """It serves, and holds no more than before."""
    async with engine.peer() as peer:
        assert await peer.fence() == []
    await eventually(lambda: engine.memory <= baseline + ALLOWED and engine.descriptors <= descriptors)


async def many(times: int, attack: Callable[[Served, Random], Awaitable[None]], engine: Served) -> None:
    """Run an attack again and again, a few at once."""
    turns = iter(range(times))

    async def attacker() -> None:
        for turn in turns:
            await attack(engine, Random(turn))

    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(attacker)


@pytest.mark.parametrize("attack", CONNECTIONS, ids=lambda attack: attack.__name__)
async def test_bad_connections(attack: Callable[[Served, Random], Awaitable[None]], engine: Served) -> None:
    async with engine.peer() as honest:
        await honest.say_all([b'{"type":"registerfunction","id":"honest::echo"}'])
        await honest.fence()
        baseline, descriptors = engine.memory, engine.descriptors
        await many(REPETITIONS, attack, engine)
        expected = REPETITIONS if attack is a_connection_that_is_reset else 0
        calls = await honest.fence()
        with trio.fail_after(10):
            while len(calls) < expected:
                calls.append(await honest.message())
        calls += await honest.fence()
        assert len(calls) == expected
    await check_engine(engine, baseline, descriptors)


def wrong_types() -> list[bytes]:
    """Each wrong type for each field of each message, and of the announcement."""
    call = b'{"type":"invokefunction","function_id":"engine::workers::register","invocation_id":"1","data":%b}'
    return [case.text for cls in MESSAGES for case in wrong(cls)] + [call % case.text for case in wrong_announcements()]


TEXTS = {
    "invalid JSON": (list(INVALID_JSON), 1),
    "unknown types": (list(UNKNOWN_TYPES), 1),
    "types as long as a message": ([b'{"type":"' + b"x" * 100_000 + b'\\n"}'], 1),
    "wrong types": (wrong_types(), 40),
}


@pytest.mark.parametrize(("texts", "rounds"), TEXTS.values(), ids=TEXTS.keys())
async def test_bad_messages(texts: list[bytes], rounds: int, engine: Served) -> None:
    """At least 1,000 on one connection, which goes on; the log names each in a line of bounded length."""
    count = max(REPETITIONS, rounds * len(texts))
    async with engine.peer() as peer:
        await peer.fence()
        baseline, descriptors = engine.memory, engine.descriptors
        with trio.fail_after(30):
            for start in range(0, count, 50):
                await peer.say_all(islice(cycle(texts), start % len(texts), start % len(texts) + 50))
                answers = await peer.fence()
                assert {answer["error"]["code"] for answer in answers} <= {"invalid_action", "deserialization_error"}
    await check_engine(engine, baseline, descriptors)
    lines = (await trio.Path(engine.log).read_text()).splitlines()
    assert sum("dropped a message" in line for line in lines) >= REPETITIONS * 3 // 4
    assert max(map(len, lines)) < 600


async def test_messages_that_are_too_long(engine: Served) -> None:
    """64 MiB and one byte, in fragments and as one frame: that connection ends with 1009, no other does (# wire 8)."""
    async with engine.peer() as honest:
        await honest.fence()
        baseline, descriptors = engine.memory, engine.descriptors
        for _ in range(OVERSIZE):
            async with engine.peer() as peer:
                try:
                    for fragment in oversize_message():
                        await peer.say(fragment)
                except GONE:
                    pass  # ended before the last byte was sent
                assert await peer.wait_ended() == 1009
            async with engine.peer() as peer:
                await peer.say(oversize_frame())
                assert await peer.wait_ended() == 1009
        assert await honest.fence() == []
    await check_engine(engine, baseline, descriptors)
