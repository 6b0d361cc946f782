"""The frame splitter and the WebSocket on top of it: what is cut where (wire-protocol 1.2)."""

import struct
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from websockets.frames import Opcode

from iii_trio.protocol import Buffer
from iii_trio.sockets import BATCH, MAX_FRAME, CloseReason, FrameSplitter, Heartbeat, Outbox, Turn, WebSocket
from iii_trio.sockets.frames import close_frame, control_frame, frame_header

KEY = b"\x01\x02\x03\x04"


def masked(data: bytes, head: int = 0x81) -> bytes:
    size = len(data)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = struct.pack("!BH", 0x80 | 126, size)
    else:
        length = struct.pack("!BQ", 0x80 | 127, size)
    return bytes([head]) + length + KEY + bytes(byte ^ KEY[at % 4] for at, byte in enumerate(data))


def split(data: bytes) -> tuple[list[bytes], int, int | None, FrameSplitter]:
    splitter, batch = FrameSplitter(), list[bytes | memoryview]()
    position, incomplete = splitter.split(memoryview(data), 0, batch)
    return [bytes(message) for message in batch], position, incomplete, splitter


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_headers_of_all_three_lengths_are_read_and_written(size: int) -> None:
    text = b"x" * size
    messages, position, incomplete, _ = split(masked(text) + masked(b"next"))
    assert messages == [text, b"next"]
    assert (position, incomplete) == (len(masked(text) + masked(b"next")), 0)
    header = frame_header(size)
    assert header[0] == 0x81
    assert len(header) == (2 if size < 126 else 4 if size < 65536 else 10)


@pytest.mark.parametrize("size", [5, 300, 70000])
def test_a_frame_may_end_anywhere(size: int) -> None:
    whole = masked(b"x" * size)
    head = len(whole) - size
    for cut in [*range(head + 2), len(whole) - 1]:
        messages, position, incomplete, _ = split(masked(b"first") + whole[:cut])
        assert messages == [b"first"]
        assert position == len(masked(b"first"))
        known = cut >= head - len(KEY)
        assert incomplete == (len(whole) if known else 0)


def test_a_batch_is_bounded() -> None:
    data = masked(b"x") * (BATCH + 5)
    messages, position, incomplete, _ = split(data)
    assert (len(messages), position, incomplete) == (BATCH, BATCH * len(masked(b"x")), None)


def test_nothing_is_read_behind_an_end() -> None:
    messages, _, _, splitter = split(masked(b"one") + masked(b"\xff") + masked(b"two"))
    assert messages == [b"one"]
    assert splitter.ended is CloseReason.NOT_UTF8
    header = b"\x81" + struct.pack("!BQ", 0x80 | 127, MAX_FRAME + 1)
    messages, _, _, splitter = split(masked(b"one") + header)
    assert (messages, splitter.ended) == ([b"one"], CloseReason.TOO_BIG)


def test_control_frames_are_answered_and_closes_too() -> None:
    _, _, _, splitter = split(masked(b"hi", 0x89) + masked(b"", 0x8A) + masked(struct.pack("!H", 1000), 0x88))
    assert splitter.answer[0] == control_frame(Opcode.PONG, b"hi")
    assert splitter.answer[1] == close_frame(1000)
    assert splitter.ended is CloseReason.PEER_CLOSED


def test_fragments_are_put_together_by_kind() -> None:
    pieces = masked(b"{", 0x01) + masked(b"?", 0x89) + masked(b"}", 0x80)
    messages, _, _, _ = split(pieces + masked(b"bin", 0x82) + masked("\u00e9".encode(), 0x81))
    assert messages == [b"{}", b"bin", "\u00e9".encode()]
    splitter, batch = FrameSplitter(), list[bytes | memoryview]()
    splitter.split(memoryview(masked(b"a", 0x02) + masked("\u00e9".encode(), 0x80)), 0, batch)
    assert isinstance(batch[0], memoryview)
    splitter.split(memoryview(masked(b"\xc3", 0x01) + masked(b"\xa9", 0x80)), 0, batch)
    assert batch[1] == "\u00e9".encode()


class Script:
    """A stream that delivers bytes as scripted, then whatever error or end is asked for."""

    peer_address: str | None = None

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self.chunks, self.error = list(chunks), error
        self.sent = bytearray()
        self.log: list[str] = []

    async def receive(self, carry: bytes) -> memoryview:
        await trio.lowlevel.checkpoint()
        return memoryview(carry + self._next(1 << 20))

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        if not self.chunks:
            if self.error is not None:
                raise self.error
            return b""
        data, rest = self.chunks[0][:size], self.chunks[0][size:]
        self.chunks[:1] = [rest] if rest else []
        return data

    def send_nowait(self, pieces: Sequence[Buffer], size: int) -> int:
        if "broken" in self.log:
            raise BrokenPipeError
        self.sent += b"".join(pieces)
        return size

    async def send_some(self, pieces: Sequence[Buffer], size: int) -> int:
        await trio.lowlevel.checkpoint()
        return self.send_nowait(pieces, size)

    def end_sending(self) -> None:
        self.log.append("end")

    def close(self) -> None:
        self.log.append("close")


def socket_over(script: Script) -> WebSocket:
    outbox = Outbox(script, Turn(), lambda _: None, lambda _: None)
    return WebSocket(script, outbox, trio.current_time)


async def collect(socket: WebSocket) -> list[bytes]:
    messages: list[bytes] = []
    while batch := await socket.receive_batch():
        messages += map(bytes, batch)
    return messages


@pytest.mark.parametrize("size", [5, 20_000, 3_000_000])
@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
async def test_messages_survive_any_cutting(size: int, step: int) -> None:
    if size // step > 100_000:
        size = 20_000
    data = masked(b"a") + masked(b"x" * size) + masked(b"z") * 3
    script = Script(*(data[at : at + step] for at in range(0, len(data), step)))
    assert await collect(socket_over(script)) == [b"a", b"x" * size, b"z", b"z", b"z"]


@pytest.mark.parametrize("error", [None, OSError(), trio.BrokenResourceError(), trio.ClosedResourceError()])
@pytest.mark.parametrize("received", [b"", masked(b"x")[:3], masked(b"x" * 100_000)[:50_000]])
async def test_a_stream_that_ends_anywhere_means_the_peer_has_gone(error: Exception | None, received: bytes) -> None:
    script = Script(*([received] if received else []), error=error)
    socket = socket_over(script)
    assert await collect(socket) == []
    assert socket.ended is CloseReason.PEER_GONE


async def test_what_came_with_the_handshake_is_read_first() -> None:
    socket = socket_over(Script(masked(b"later")))
    socket.begin(b"HTTP/1.1 101\r\n\r\n", masked(b"early") * (BATCH + 1) + masked(b"half")[:4])
    first = await socket.receive_batch()
    assert len(first) == BATCH
    assert await socket.receive_batch() == [b"early"]


async def test_a_polite_close_says_why_and_reads_what_is_left() -> None:
    script = Script(b"unread" * 1000)
    socket = socket_over(script)
    await socket.close(CloseReason.SHUTDOWN)
    assert bytes(script.sent) == close_frame(1012)
    assert script.chunks == []
    assert script.log == ["end", "close"]


@pytest.mark.parametrize("reason", [CloseReason.PEER_GONE, CloseReason.KILLED, CloseReason.REATTACHED])
async def test_other_ends_drop_the_connection(reason: CloseReason) -> None:
    script = Script(b"unread")
    await socket_over(script).close(reason)
    assert (bytes(script.sent), script.log) == (b"", ["close"])


async def test_a_peer_that_closed_first_is_not_read_any_more() -> None:
    script = Script(masked(struct.pack("!H", 1000), 0x88), b"never read")
    socket = socket_over(script)
    assert await collect(socket) == []
    await socket.close(CloseReason.PEER_CLOSED)
    assert bytes(script.sent) == close_frame(1000)
    assert script.chunks == [b"never read"]


async def test_a_close_to_a_broken_peer_ends_quietly() -> None:
    for script in (Script(error=BrokenPipeError()), Script()):
        script.log.append("broken" if script.error is None else "fine")
        await socket_over(script).close(CloseReason.CRASHED)
        assert script.log[-1] == "close"


async def test_a_close_lingers_a_second_at_most(autojump_clock: trio.testing.MockClock) -> None:
    class Endless(Script):
        async def receive_into(self, buffer: memoryview) -> int:
            await trio.sleep(0.3)
            return 1

    script = Endless()
    begun = trio.current_time()
    await socket_over(script).close(CloseReason.SHUTDOWN)
    assert trio.current_time() - begun == pytest.approx(1)
    assert script.log == ["end", "close"]


class Watched:
    """A connection as the heartbeat sees it."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.log: list[str] = []

    def stop(self, reason: str) -> None:
        self.log.append(reason)

    def tick(self, now: float) -> None:
        self.log.append(f"tick {now:g}")


@pytest.mark.parametrize(
    ("heartbeat", "times", "pings", "ended"),
    [
        (Heartbeat(), [29, 30, 31, 59, 60, 179], 3, False),
        (Heartbeat(), [29, 180], 0, True),
        (Heartbeat(ping_after=0), [30, 60, 180], 0, True),
        (Heartbeat(idle_after=0), [30, 5000], 2, False),
    ],
)
async def test_silence_is_asked_about_and_ended(
    heartbeat: Heartbeat, times: list[float], pings: int, *, ended: bool
) -> None:
    now = 0.0
    script = Script()
    socket = WebSocket(script, Outbox(script, Turn(), lambda _: None, lambda _: None), lambda: now)
    watched = Watched(socket)
    for moment in times:
        now = moment
        heartbeat.look(watched, moment)
    assert bytes(script.sent) == control_frame(Opcode.PING) * pings
    assert (watched.log[-1] == "idle") == ended
    assert len(watched.log) == len(times)
