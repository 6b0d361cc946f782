"""The outbox against a model: order, bounds, partial sends (wire-protocol 1.4)."""

from collections.abc import Sequence
from functools import partial

import attrs
import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iii_trio.protocol import Buffer
from iii_trio.sockets import CloseReason, Outbox, OutboxLimits, Turn

LIMITS = OutboxLimits(frames=5, size=40_000, waiting=60_000, patience=60.0)
FRAME_COST = 256
ENOUGH = 1 << 40


@attrs.define(eq=False)
class Peer:
    """A stream whose peer takes as many bytes as it is given leave to; the first `loss` of them, then it is gone."""

    leave: int = 0
    loss: int = ENOUGH
    taken: bytearray = attrs.field(factory=bytearray)
    peer_address: str | None = None
    _more: trio.Event = attrs.field(factory=trio.Event)

    def grant(self, size: int) -> None:
        self.leave += size
        self._more.set()
        self._more = trio.Event()

    def send_nowait(self, pieces: Sequence[Buffer], size: int) -> int:
        data = b"".join(pieces)
        assert len(data) == size > 0
        if len(self.taken) >= self.loss:
            raise BrokenPipeError
        part = data[: min(self.leave, self.loss - len(self.taken))]
        self.leave -= len(part)
        self.taken += part
        return len(part)

    async def send_some(self, pieces: Sequence[Buffer], size: int) -> int:
        while not (sent := self.send_nowait(pieces, size)):
            await self._more.wait()
        return sent

    async def receive(self, carry: bytes) -> memoryview:
        raise AssertionError("an outbox does not read")

    async def receive_into(self, buffer: memoryview) -> int:
        raise AssertionError("an outbox does not read")

    def end_sending(self) -> None:
        """Not asked by an outbox."""

    def close(self) -> None:
        """Not asked by an outbox."""


@attrs.define(eq=False)
class Model:
    """What an outbox must do, said without regard to how."""

    nursery: trio.Nursery
    peer: Peer
    turn: Turn = attrs.field(factory=Turn)
    outbox: Outbox = attrs.field(init=False)
    accepted: list[bytes] = attrs.field(factory=list)
    failures: list[CloseReason] = attrs.field(factory=list)
    number: int = 0

    def __attrs_post_init__(self) -> None:
        self.outbox = Outbox(self.peer, self.turn, partial(self.nursery.start_soon), self.failures.append, LIMITS)

    def unsent(self) -> list[bytes]:
        """Frames that have not been taken whole; the first one may have been taken in part."""
        done = len(self.peer.taken)
        rest = []
        for frame in self.accepted:
            if done < len(frame):
                rest.append(frame[done:])
            done = max(done - len(frame), 0)
        return rest

    def waiting(self) -> int:
        unsent = self.unsent()
        return sum(map(len, unsent)) + FRAME_COST * len(unsent)

    def send(self, size: int) -> None:
        """A message in three pieces; the model frames it by hand."""
        self.number += 1
        text = (b"%d," % self.number).ljust(size, b"x")
        fits = not self.unsent() or self.waiting() + len(header(text) + text) <= LIMITS.size + LIMITS.waiting
        failed = bool(self.failures)
        if not failed and fits:
            self.accepted.append(header(text) + text)
        third = len(text) // 3
        self.outbox.send((text[:third], memoryview(text)[third : 2 * third], text[2 * third :]), len(text))
        if not fits and not failed:
            assert self.failures == [CloseReason.SLOW_CONSUMER]

    def check(self) -> None:
        """What holds after every step."""
        assert bytes(self.peer.taken) == b"".join(self.accepted)[: len(self.peer.taken)]
        assert len(self.failures) <= 1
        statistics = self.outbox.statistics()
        assert statistics.sent_bytes <= len(self.peer.taken)
        if self.failures:
            assert (statistics.frames, statistics.size) == (0, 0)
            return
        assert statistics.sent_bytes == len(self.peer.taken)
        assert (statistics.frames, statistics.size) == (len(self.unsent()), self.waiting())
        assert statistics.sent_frames == len(self.accepted) - len(self.unsent())
        assert self.outbox.is_full == (len(self.unsent()) >= LIMITS.frames or self.waiting() >= LIMITS.size)


def header(text: bytes) -> bytes:
    if len(text) < 126:
        return bytes([0x81, len(text)])
    if len(text) < 65_536:
        return b"\x81\x7e" + len(text).to_bytes(2, "big")
    return b"\x81\x7f" + len(text).to_bytes(8, "big")


SIZES = st.sampled_from([3, 125, 126, 5_000, 8_191, 8_192, 30_000, 65_535, 65_536, 99_000, 300_000])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), SIZES),
        st.tuples(st.just("grant"), st.sampled_from([1, 2, 300, 9_000, 40_000, 400_000])),
        st.tuples(st.just("turn"), st.booleans()),
        st.tuples(st.just("wait"), st.none()),
    ),
    max_size=40,
)


async def play(steps: list[tuple[str, int]], loss: int) -> None:
    async with trio.open_nursery() as nursery:
        model = Model(nursery, Peer(loss=loss))
        for step, value in steps:
            await _step(model, step, value)
        await _step(model, "turn", False)
        model.peer.grant(ENOUGH)
        await _step(model, "wait", 0)
        if loss == ENOUGH and not model.failures:
            assert bytes(model.peer.taken) == b"".join(model.accepted)
            assert model.outbox.statistics().frames == 0
        if len(model.peer.taken) >= loss and model.outbox.statistics().frames:
            raise AssertionError("a broken stream was not noticed")


async def _step(model: Model, step: str, value: int) -> None:
    match step:
        case "send":
            model.send(value)
        case "grant":
            model.peer.grant(value)
        case "turn" if value:
            model.turn.active = True
        case "turn":
            model.turn.end()
        case "wait":
            await trio.testing.wait_all_tasks_blocked()
            model.check()


@given(STEPS, st.one_of(st.just(ENOUGH), st.integers(0, 100_000)))
@example([("grant", 400_000), ("turn", True), ("send", 8_192), ("send", 3), ("turn", False), ("wait", 0)], ENOUGH)
@example([("send", 300_000), ("wait", 0), ("send", 3)], ENOUGH)
@settings(max_examples=300, deadline=None)
def test_order_bounds_and_partial_sends(steps: list[tuple[str, int]], loss: int) -> None:
    trio.run(play, steps, loss)


async def test_one_message_of_any_size_always_fits(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        model = Model(nursery, Peer())
        model.send(LIMITS.size + LIMITS.waiting + 1_000_000)
        assert model.failures == []
        assert not model.outbox.has_room(1)
        model.peer.grant(ENOUGH)
        await model.outbox.wait_sent()
        assert bytes(model.peer.taken) == model.accepted[0]


@pytest.mark.parametrize("size", [100, 1_000, 70_000])
async def test_what_there_is_room_for_cuts_nobody_off(size: int, autojump_clock: trio.testing.MockClock) -> None:
    """The header of its frame counts, too."""
    async with trio.open_nursery() as nursery:
        model = Model(nursery, Peer())
        model.send(LIMITS.size + LIMITS.waiting - size - FRAME_COST - 100)
        while model.outbox.has_room(size + 1):
            size += 1
        model.send(size)
        assert model.failures == []
        model.peer.grant(ENOUGH)
        await model.outbox.wait_sent()


async def test_a_peer_that_takes_no_byte_for_a_minute_is_cut_off(autojump_clock: trio.testing.MockClock) -> None:
    """Not one that takes a single byte in that time (1.4)."""
    async with trio.open_nursery() as nursery:
        model = Model(nursery, Peer())
        model.send(5_000)
        for _ in range(3):
            await trio.sleep(LIMITS.patience - 1)
            assert model.failures == []
            model.peer.grant(1)
        await trio.sleep(LIMITS.patience - 1)
        assert model.failures == []
        await trio.sleep(2)
        assert model.failures == [CloseReason.SLOW_CONSUMER]
        assert model.outbox.statistics().size == 0


async def test_who_waits_for_room_goes_on_when_there_is_room_or_nobody_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        model = Model(nursery, Peer())
        for _ in range(LIMITS.frames):
            model.send(1_000)
        with trio.move_on_after(1) as impatient:
            await model.outbox.wait_room()
        assert impatient.cancelled_caught
        model.peer.grant(1_010)
        with trio.fail_after(1):
            await model.outbox.wait_room()
        assert not model.outbox.is_full
        model.send(1_000)
        async with trio.open_nursery() as waiting:
            waiting.start_soon(model.outbox.wait_room)
            await trio.testing.wait_all_tasks_blocked()
            model.outbox.fail(CloseReason.PEER_GONE)
        nursery.cancel_scope.cancel()
