"""Any way a client frames its messages, and any way the network cuts its bytes, gives the same messages (wire-protocol 1.2)."""

import struct
from collections import deque
from collections.abc import Iterable, Sequence

import attrs
import pytest
import trio
from frame_scripts import SCRIPTS, Item, Said, cut, messages, pings, said, write
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from iii_trio.protocol import Buffer
from iii_trio.sockets import BATCH, MAX_FRAME, CloseReason, FrameSplitter, Outbox, Turn, WebSocket
from iii_trio.sockets.stream import RECEIVE_SIZE

PLACES = st.lists(st.integers(0, 1 << 20), max_size=20)


def feed(splitter: FrameSplitter, pieces: Iterable[bytes]) -> list[Said]:
    """Give it the bytes piece by piece, carrying over what it could not use yet."""
    heard: list[Said] = []
    rest = b""
    for piece in pieces:
        data, position, incomplete = rest + piece, 0, None
        while incomplete is None and splitter.ended is None:
            batch: list[bytes | memoryview] = []
            position, incomplete = splitter.split(memoryview(data), position, batch)
            assert len(batch) <= BATCH
            assert incomplete is None or incomplete == 0 or incomplete > len(data) - position
            heard += map(said, batch)
        rest = data[position:]
    return heard


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=masked)


@given(SCRIPTS, PLACES)
@example([Item("text", b"x")] * (2 * BATCH + 1), [])
@example([Item("text", b"ab", (1,), b"now?")], list(range(40)))
@settings(max_examples=300, deadline=None)
def test_any_split_of_the_stream_gives_the_same_messages(script: list[Item], places: list[int]) -> None:
    splitter = FrameSplitter()
    assert feed(splitter, cut(write(script), places)) == messages(script)
    assert splitter.ended is None
    assert b"".join(splitter.answer) == b"".join(frame(Opcode.PONG, data, masked=False) for data in pings(script))


@given(SCRIPTS.filter(lambda script: len(write(script)) < 2_000))
@settings(max_examples=40, deadline=None)
def test_byte_by_byte_gives_the_same_messages(script: list[Item]) -> None:
    assert feed(FrameSplitter(), [bytes([byte]) for byte in write(script)]) == messages(script)


@given(SCRIPTS, PLACES, SCRIPTS)
@settings(max_examples=60, deadline=None)
def test_a_close_is_the_last_thing_heard(before: list[Item], places: list[int], after: list[Item]) -> None:
    splitter = FrameSplitter()
    stream = write(before) + frame(Opcode.CLOSE, struct.pack("!H", 1000) + b"bye") + write(after)
    assert feed(splitter, cut(stream, places)) == messages(before)
    assert splitter.ended is CloseReason.PEER_CLOSED


@given(
    st.text(max_size=400).map(str.encode) | st.binary(max_size=400),
    st.sampled_from([b"", b"more", frame(Opcode.TEXT, b"next")]),
)
@example(b"x" * 126, b"")
@example(b"x" * 65_535, b"")
@example(b"x" * 65_536, b"")
@example("ä".encode() * 80, b"")
@settings(max_examples=200, deadline=None)
def test_a_text_that_comes_alone_is_what_splitting_gives(text: bytes, more: bytes) -> None:
    data = memoryview(frame(Opcode.TEXT, text) + more)
    batch: list[bytes | memoryview] = []
    assert FrameSplitter().split(data, 0, batch)[0] >= len(data) - len(more) or not batch
    sole = FrameSplitter().sole_text(data)
    if 126 <= len(text) < 65_536 and text.isascii() and not more:
        assert [sole] == batch
    else:
        assert sole is None


@pytest.mark.parametrize("opcode", [Opcode.BINARY, Opcode.CONT])
def test_only_a_text_comes_alone(opcode: Opcode) -> None:
    assert FrameSplitter().sole_text(memoryview(frame(opcode, b"x" * 126))) is None
    assert FrameSplitter().sole_text(memoryview(frame(Opcode.TEXT, b"x" * 126, masked=False))) is None
    assert FrameSplitter().sole_text(memoryview(frame(Opcode.TEXT, b"x" * 126, fin=False))) is None


def test_a_text_inside_a_fragmented_message_is_a_violation_though_it_comes_alone() -> None:
    """# wire 102"""
    splitter = FrameSplitter()
    assert feed(splitter, [frame(Opcode.TEXT, b"x", fin=False)]) == []
    assert splitter.sole_text(memoryview(frame(Opcode.TEXT, b"x" * 126))) is None


VIOLATIONS = {
    "unmasked": (frame(Opcode.TEXT, b"x", masked=False), CloseReason.PROTOCOL_ERROR),
    "unmasked and empty": (frame(Opcode.TEXT, b"", masked=False), CloseReason.PROTOCOL_ERROR),
    "a reserved bit": (bytes([0xC1]) + frame(Opcode.TEXT, b"x")[1:], CloseReason.PROTOCOL_ERROR),
    "an unknown opcode": (bytes([0x83]) + frame(Opcode.TEXT, b"x")[1:], CloseReason.PROTOCOL_ERROR),
    "an unknown control opcode": (bytes([0x8B]) + frame(Opcode.TEXT, b"x")[1:], CloseReason.PROTOCOL_ERROR),
    "a stray continuation": (frame(Opcode.CONT, b"x"), CloseReason.PROTOCOL_ERROR),
    "a message inside a message": (
        frame(Opcode.TEXT, b"x", fin=False) + frame(Opcode.TEXT, b"y"),
        CloseReason.PROTOCOL_ERROR,
    ),
    "a fragmented ping": (bytes([0x09]) + frame(Opcode.PING, b"x")[1:], CloseReason.PROTOCOL_ERROR),
    "a long ping": (bytes([0x89, 0xFE, 0, 126]) + bytes(4 + 126), CloseReason.PROTOCOL_ERROR),
    "a close with one byte": (bytes([0x88, 0x81]) + bytes(5), CloseReason.PROTOCOL_ERROR),
    "text that is not UTF-8": (frame(Opcode.TEXT, b'"\xff"'), CloseReason.NOT_UTF8),
    "half a letter": (frame(Opcode.TEXT, "ä".encode()[:1]), CloseReason.NOT_UTF8),
    "an encoded surrogate": (frame(Opcode.TEXT, b"\xed\xa0\x80"), CloseReason.NOT_UTF8),
    "fragments that are not UTF-8": (
        frame(Opcode.TEXT, b"\xc3", fin=False) + frame(Opcode.CONT, b"("),
        CloseReason.NOT_UTF8,
    ),
    "a frame beyond the limit": (struct.pack("!BBQ", 0x81, 0xFF, MAX_FRAME + 1), CloseReason.TOO_BIG),
    "a fragment beyond the limit": (struct.pack("!BBQ", 0x01, 0xFF, MAX_FRAME + 1), CloseReason.TOO_BIG),
    "the longest length there is": (struct.pack("!BBQ", 0x82, 0xFF, (1 << 64) - 1), CloseReason.TOO_BIG),
}


@pytest.mark.parametrize(("violation", "reason"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
@given(before=SCRIPTS, places=PLACES, after=SCRIPTS)
@settings(max_examples=25, deadline=None)
def test_a_violation_ends_the_connection_and_spoils_nothing_before_it(
    violation: bytes, reason: CloseReason, before: list[Item], places: list[int], after: list[Item]
) -> None:
    """# wire 102"""
    splitter = FrameSplitter()
    assert feed(splitter, cut(write(before) + violation + write(after), places)) == messages(before)
    assert splitter.ended is reason


def test_letters_cut_by_fragments_are_whole_again() -> None:
    text = "aä€\N{ROCKET}".encode()
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            item = Item("text", text, (first, second), b"")
            assert feed(FrameSplitter(), [write([item])]) == [("text", text)]


@given(st.binary(max_size=300), PLACES)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_messages_or_the_end_however_they_are_cut(stream: bytes, places: list[int]) -> None:
    whole, pieces = FrameSplitter(), FrameSplitter()
    assert feed(whole, [stream]) == feed(pieces, cut(stream, places))
    assert whole.ended is pieces.ended


# --- the same through a WebSocket, which assembles large frames in a buffer of their own ------------------------------


@attrs.define(eq=False)
class ScriptedStream:
    """Brings given pieces, then the end; keeps what is sent."""

    pieces: deque[bytes]
    sent: bytearray = attrs.field(factory=bytearray)
    peer_address: str | None = None

    async def receive(self, carry: bytes) -> memoryview:
        return memoryview(carry + await self._next(RECEIVE_SIZE - len(carry)))

    async def receive_into(self, buffer: memoryview) -> int:
        data = await self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    async def _next(self, limit: int) -> bytes:
        assert limit > 0
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            return b""
        piece = self.pieces.popleft()
        if len(piece) > limit:
            self.pieces.appendleft(piece[limit:])
        return piece[:limit]

    def send_nowait(self, pieces: Sequence[Buffer], size: int) -> int:
        data = b"".join(pieces)
        assert len(data) == size
        self.sent += data
        return size

    async def send_some(self, pieces: Sequence[Buffer], size: int) -> int:
        raise AssertionError("everything is taken at once")

    def end_sending(self) -> None:
        """Nothing to say."""

    def close(self) -> None:
        """Nothing to close."""


async def hear(stream: ScriptedStream, leftover: bytes) -> tuple[list[Said], CloseReason | None]:
    def unexpected(*_: object) -> None:
        raise AssertionError("no writer task and no failure here")

    outbox = Outbox(stream, Turn(), unexpected, unexpected)
    socket = WebSocket(stream, outbox, lambda: 0.0)
    socket.begin(b"", leftover)
    heard: list[Said] = []
    while batch := await socket.receive_batch():
        assert len(batch) <= BATCH
        heard += map(said, batch)
    return heard, socket.ended


@given(SCRIPTS, PLACES, st.booleans())
@example([Item("text", b"x" * 20_000), Item("text", b"y")], [17_000, 17_001], False)
@example([Item("text", b"x")] * (2 * BATCH + 1), [], True)
@example([Item("text", b"x" * 3_000_000), Item("ping", b"?"), Item("text", b"z")], [20_000, 1_500_000], False)
@settings(max_examples=150, deadline=None)
def test_a_socket_hears_the_same_messages(script: list[Item], places: list[int], early: bool) -> None:
    """`early`: the first bytes came right behind the handshake."""
    pieces = deque(cut(write(script), places))
    leftover = pieces.popleft() if early and pieces else b""
    stream = ScriptedStream(pieces)
    heard, ended = trio.run(hear, stream, leftover)
    assert heard == messages(script)
    assert ended is CloseReason.PEER_GONE
    assert bytes(stream.sent) == b"".join(frame(Opcode.PONG, data, masked=False) for data in pings(script))


@given(st.integers(1, 60_000))
@settings(max_examples=30, deadline=None)
def test_a_frame_that_is_cut_off_by_the_end_is_not_heard(missing: int) -> None:
    stream = write([Item("text", b"one"), Item("text", b"x" * 60_000)])[:-missing]
    heard, ended = trio.run(hear, ScriptedStream(deque([stream])), b"")
    assert heard == [("text", b"one")]
    assert ended is CloseReason.PEER_GONE


@pytest.mark.parametrize("more", [0, 1])
def test_a_message_of_fragments_may_have_64_mib_and_no_byte_more(more: int) -> None:
    """# wire 8: both limits are inclusive; the largest frame is 16 MiB."""
    splitter = FrameSplitter()
    part = bytes(MAX_FRAME)
    first = frame(Opcode.BINARY, part, fin=False)
    middle = frame(Opcode.CONT, part, fin=False)
    heard = feed(splitter, [first, middle, middle, middle])
    assert heard == []
    assert splitter.ended is None
    heard = feed(splitter, [frame(Opcode.CONT, bytes(more))])
    assert [(kind, len(content)) for kind, content in heard] == ([] if more else [("binary", 4 * MAX_FRAME)])
    assert splitter.ended is (CloseReason.TOO_BIG if more else None)
