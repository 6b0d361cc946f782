"""Reconnect storms: five hundred workers drop and register everything again, twice; in the end the books are exact."""

import json
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
from served import HANDSHAKE, BytePeer
from storm import Footprint

from iii_trio import Engine, open_engine
from iii_trio.kernel import KernelStatistics
from iii_trio.testing import RawWorker, open_raw_worker
from tests.waiting import eventually

pytestmark = pytest.mark.chaos
SEATS = 500
FUNCTIONS = 20
STORMS = 2
WAYS = ("reattach", "cut", "reattach", "overlap")
"""`reattach` retires the old connection, `cut` breaks it off first, `overlap` (an SDK of 0.11) lets it stand until it is replaced."""

FILES = 2_500
LONGEST = 30.0  # seconds; it takes three where nothing else runs


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(FILES, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@attrs.define(eq=False)
class Seat:
    """One worker through all its connections."""

    number: int
    peer: BytePeer | None = None
    worker_id: str = ""
    token: str = ""
    refusals: list[dict[str, Any]] = attrs.field(factory=list)

    @property
    def way(self) -> str:
        return WAYS[self.number % len(WAYS)]

    def function_id(self, number: int) -> str:
        return f"seat{self.number}::f{number}"

    async def connect(self, port: int) -> None:
        """Come (back) in the worker's way and register everything."""
        former, previous = self.peer, {"previous_worker_id": self.worker_id, "reattach_token": self.token}
        if former is not None and self.way == "cut":
            await trio.aclose_forcefully(former.stream)
        self.peer = BytePeer(await trio.open_tcp_stream("127.0.0.1", port))
        await self.peer.say(HANDSHAKE)
        await self.peer.hear_until(b"\r\n\r\n")
        greeting = await self.peer.message()
        self.worker_id, self.token = greeting["worker_id"], greeting["reattach_token"]
        reattach = [{"type": "reattach", **previous}] if former is not None and self.way == "reattach" else []
        await self.peer.say_all(json.dumps(message).encode() for message in [*reattach, *self.registrations()])
        heard = await self.peer.fence()
        self.refusals += [message for message in heard if message["type"] != "invokefunction"]
        if former is not None:
            await trio.aclose_forcefully(former.stream)

    def registrations(self) -> Iterator[dict[str, Any]]:
        """What an SDK says after connecting; legacy ones share their name."""
        said = {"name": "legacy", "version": "0.11.6"}
        if self.way != "overlap":
            said = {"name": f"seat{self.number}", "version": "0.25.0"}
        announce = {"function_id": "engine::workers::register", "data": {"runtime": "node", **said}}
        yield {"type": "invokefunction", "action": {"type": "void"}, **announce}
        for number in range(FUNCTIONS):
            yield {"type": "registerfunction", "id": self.function_id(number)}
        trigger = {"id": f"t{self.number}", "trigger_type": "bell", "function_id": self.function_id(0)}
        yield {"type": "registertrigger", **trigger, "config": {}}

    async def answer(self) -> None:
        """Answer the next call."""
        assert self.peer is not None
        call = await self.peer.message()
        ids = {name: call[name] for name in ("invocation_id", "function_id")}
        await self.peer.say_all([json.dumps({"type": "invocationresult", **ids, "result": self.number}).encode()])

    async def leave(self) -> None:
        if self.peer is not None:
            await trio.aclose_forcefully(self.peer.stream)


@attrs.define(eq=False)
class Weather:
    """The seats, a worker that calls them and provides their triggers' type, and how its calls ended."""

    engine: Engine
    honest: RawWorker
    seats: list[Seat] = attrs.field(factory=lambda: [Seat(number) for number in range(SEATS)])
    outcomes: Counter[str] = attrs.field(factory=Counter)

    async def call(self, seat: Seat, number: int) -> None:
        """Call a function of a seat and count how it ends."""
        invocation_id = self.engine.kernel.ids.new()
        answer = await self.honest.call(seat.function_id(number), invocation_id=invocation_id)
        self.outcomes[answer["error"]["code"] if "error" in answer else "reply"] += 1
        assert "error" in answer or answer["result"] == seat.number

    async def blow(self) -> None:
        """A call to every seat is in flight when all of them drop; no call hangs, all seats come back."""
        port = self.engine.address[1]
        async with trio.open_nursery() as calls:
            if self.seats[0].peer is not None:
                for seat in self.seats:
                    calls.start_soon(self.call, seat, 0)
                await eventually(lambda: self.counts.invocations.in_flight == SEATS)
            async with trio.open_nursery() as arrivals:
                for seat in self.seats:
                    arrivals.start_soon(seat.connect, port)

    async def settle(self) -> None:
        """Wait until the engine has noticed every connection that is no more."""
        await eventually(lambda: self.counts.workers.connected == SEATS + 1)

    @property
    def counts(self) -> KernelStatistics:
        return self.engine.statistics().kernel

    def check(self, empty: KernelStatistics) -> None:
        """Everything is there once, and belongs to the last connection of its seat."""
        kernel, counts = self.engine.kernel, self.counts
        assert [seat.refusals for seat in self.seats if seat.refusals] == []
        assert counts.functions.functions == empty.functions.functions + SEATS * FUNCTIONS
        assert counts.triggers == attrs.evolve(empty.triggers, bound=empty.triggers.bound + SEATS)
        assert counts.workers.names == SEATS * 3 // 4 + 1  # the legacy ones share one
        assert counts.invocations.in_flight == 0
        for seat in self.seats:
            worker = kernel.workers.get(seat.worker_id)
            assert worker is not None
            assert {key[1] for key in worker.functions} == {seat.function_id(number) for number in range(FUNCTIONS)}
            assert list(worker.triggers) == [f"t{seat.number}"]
            for number in range(FUNCTIONS):
                function = kernel.functions.find("default", seat.function_id(number))
                assert function is not None
                assert function.owner is worker

    async def use(self) -> None:
        """Every seat answers a call."""
        async with trio.open_nursery() as nursery:
            for seat in self.seats:
                nursery.start_soon(self.call, seat, FUNCTIONS - 1)
                nursery.start_soon(seat.answer)

    def triggers_at_the_provider(self) -> Counter[str]:
        """How many triggers the provider has now, by what it was told last of each."""
        last = {
            message["id"]: message["type"]
            for message in self.honest.inbox
            if message["type"] in {"registertrigger", "unregistertrigger"}
        }
        return Counter(last.values())


async def test_the_books_are_exact_after_two_storms() -> None:
    """# wire 15, 17, 56, 106"""
    with trio.fail_after(LONGEST):
        async with open_engine({}, host="127.0.0.1", port=0) as engine:
            stream = await trio.open_tcp_stream(*engine.address)
            async with open_raw_worker(stream) as honest:
                await honest.send("registertriggertype", id="bell", description="")
                await honest.fence()
                weather = Weather(engine, honest)
                try:
                    await ride_out(weather)
                finally:
                    with trio.move_on_after(5, shield=True):
                        for seat in weather.seats:
                            await seat.leave()


async def ride_out(weather: Weather) -> None:
    empty, footprint = weather.counts, Footprint.of(weather.engine)
    for storm in range(STORMS + 1):  # the first time they just come
        await weather.blow()
        await weather.settle()
        assert weather.outcomes == Counter({"invocation_stopped": storm * SEATS} if storm else {})
        weather.check(empty)
    await weather.use()
    assert weather.outcomes["reply"] == SEATS
    await weather.honest.fence()
    assert weather.triggers_at_the_provider() == {"registertrigger": SEATS}

    for seat in weather.seats:
        await seat.leave()
    await eventually(lambda: Footprint.of(weather.engine).is_back_at(footprint))
    check_nothing_is_left(weather, empty)
    await weather.honest.fence()
    assert weather.triggers_at_the_provider() == {"unregistertrigger": SEATS}


def check_nothing_is_left(weather: Weather, empty: KernelStatistics) -> None:
    counts, statistics = weather.counts, weather.engine.statistics()
    assert (counts.workers.connected, counts.workers.names) == (1, 0)
    assert counts.workers.ever_connected == 1 + SEATS * (STORMS + 1)
    assert (counts.functions, counts.triggers) == (empty.functions, empty.triggers)
    assert counts.invocations.in_flight == 0
    assert statistics.listeners[0].closed == {
        "reattached": STORMS * SEATS // 2,
        "peer_gone": SEATS + STORMS * SEATS // 2,
    }
    assert statistics.connections.crashed == 0
