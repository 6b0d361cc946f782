"""Whatever a peer does on whichever path, no other connection loses a message, or has it out of order (wire-protocol 1.1-1.4)."""

import json
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import trio
from hostile import half_frame, oversize_frame, text_frame
from served import GONE, HANDSHAKE, BytePeer, Served, open_served
from websockets.frames import Frame, Opcode

from tests.waiting import eventually

pytestmark = pytest.mark.chaos
PATHS = (
    "/",
    "/?token=x",
    "/otel",
    "/otel/",
    "/nowhere",
    "/ws/channels/00000000-0000-4000-8000-000000000000?key=none&dir=read",
)
"""Where the hostile peers go. A path that refuses them must do so without harm, too."""

ROUNDS = 3
WINDOW = 50  # calls of the honest pair in flight


def head(path: str) -> bytes:
    return HANDSHAKE.replace(b"GET / ", f"GET {path} ".encode())


Attack = Callable[[str, Random], Iterator[bytes]]
"""What a peer says on a path, in pieces; then it breaks off."""


def half_a_head(path: str, random: Random) -> Iterator[bytes]:
    yield head(path)[: random.randrange(1, len(head(path)))]


def a_head_without_end(path: str, _: Random) -> Iterator[bytes]:
    yield head(path)[:-2]
    for number in range(80):
        yield f"x-{number}: {'y' * 1000}\r\n".encode()


def a_body_with_the_head(path: str, random: Random) -> Iterator[bytes]:
    yield head(path)[:-2] + b"content-length: 1000\r\n\r\n" + random.randbytes(1000)


def another_method(path: str, _: Random) -> Iterator[bytes]:
    yield head(path).replace(b"GET", b"POST")


def random_bytes(path: str, random: Random) -> Iterator[bytes]:
    yield head(path) + random.randbytes(500)


def a_truncated_frame(path: str, random: Random) -> Iterator[bytes]:
    yield head(path)
    yield half_frame(random)


def a_frame_that_is_too_big(path: str, _: Random) -> Iterator[bytes]:
    yield head(path) + oversize_frame()
    yield bytes(100_000)


def a_violation_between_messages(path: str, _: Random) -> Iterator[bytes]:
    call = b'{"type":"invokefunction","function_id":"honest::echo","invocation_id":"1","data":"not counted"}'
    yield head(path) + text_frame(b'{"type":"ping"}')
    yield Frame(Opcode.CONT, b"stray").serialize(mask=True) + text_frame(call)


def fragments_without_end(path: str, _: Random) -> Iterator[bytes]:
    yield head(path) + Frame(Opcode.TEXT, b"{", fin=False).serialize(mask=True)
    for _ in range(20):
        yield Frame(Opcode.CONT, b" " * 10_000, fin=False).serialize(mask=True)


def binary_noise(path: str, random: Random) -> Iterator[bytes]:
    yield head(path)
    for prefix in (b"OTLP", b"MTRC", b"LOGS", b"\xff\xfe"):
        yield Frame(Opcode.BINARY, prefix + random.randbytes(200)).serialize(mask=True)


def a_flood_of_pings(path: str, _: Random) -> Iterator[bytes]:
    yield head(path) + Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 2_000


def an_unknown_close(path: str, _: Random) -> Iterator[bytes]:
    yield head(path) + Frame(Opcode.CLOSE, struct.pack("!H", 1005)).serialize(mask=True)


ATTACKS: tuple[Attack, ...] = (
    half_a_head,
    a_head_without_end,
    a_body_with_the_head,
    another_method,
    random_bytes,
    a_truncated_frame,
    a_frame_that_is_too_big,
    a_violation_between_messages,
    fragments_without_end,
    binary_noise,
    a_flood_of_pings,
    an_unknown_close,
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Served]:
    async with open_served(tmp_path) as served:
        yield served


async def strike(engine: Served, path: str, attack: Attack, random: Random) -> None:
    """Say it all, reading nothing; then say no more and wait for the end, or just break off."""
    stream = await engine.connect()
    peer = BytePeer(stream)
    try:
        for piece in attack(path, random):
            await peer.say(piece)
        if random.random() < 0.5:
            await stream.send_eof()
            await peer.wait_ended()
    except GONE:
        pass  # the engine was faster
    finally:
        await trio.aclose_forcefully(stream)


async def strike_everywhere(engine: Served, path: str) -> None:
    random = Random(path)
    for _ in range(ROUNDS):
        for attack in ATTACKS:
            await strike(engine, path, attack, random)


async def echo(peer: BytePeer) -> None:
    """Give back every number, in order."""
    expected = 0
    while True:
        call = await peer.message()
        if call["data"] == "not counted":
            continue  # of a peer that said something legal before it broke the rules
        assert call["data"]["number"] == expected
        expected += 1
        ids = {name: call[name] for name in ("invocation_id", "function_id")}
        result = {"type": "invocationresult", **ids, "result": call["data"]["number"]}
        await peer.say_all([json.dumps(result).encode()])


async def call_on_and_on(peer: BytePeer, over: trio.Event) -> int:
    """Keep a window of numbered calls in flight until it is over; every answer comes, in order. Returns how many."""
    called = answered = 0
    while not over.is_set() or answered < called:
        while called < answered + WINDOW and not over.is_set():
            ids = {"function_id": "honest::echo", "invocation_id": f"{called}"}
            await peer.say_all([json.dumps({"type": "invokefunction", **ids, "data": {"number": called}}).encode()])
            called += 1
        answer = await peer.message()
        assert (answer["invocation_id"], answer.get("result")) == (f"{answered}", answered), answer
        answered += 1
    return answered


@pytest.mark.parametrize("path", PATHS)
async def test_no_other_connection_loses_a_message(path: str, engine: Served) -> None:
    """# wire 102"""
    async with engine.peer() as honest, engine.peer() as caller, trio.open_nursery() as nursery:
        await honest.say_all([b'{"type":"registerfunction","id":"honest::echo"}'])
        await honest.fence()
        baseline = engine.descriptors
        over, answered = trio.Event(), 0

        async def attack() -> None:
            await strike_everywhere(engine, path)
            over.set()

        nursery.start_soon(echo, honest)
        with trio.fail_after(60):
            nursery.start_soon(attack)
            answered = await call_on_and_on(caller, over)
        nursery.cancel_scope.cancel()
        assert answered > WINDOW
        # those who never finished their head are let go by the handshake's deadline
        await eventually(lambda: engine.descriptors <= baseline, within=12)
