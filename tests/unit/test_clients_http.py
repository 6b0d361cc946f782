"""The outbound client over streams in memory: races, bounds, and what is left behind (ADR 15)."""

from collections.abc import Awaitable, Callable, Sequence

import attrs
import pytest
import trio
import trio.testing

from iii_trio.clients.exchange import HttpLimits, HttpRequest, RequestFailed, ResponseFailed
from iii_trio.clients.http import HttpClient
from iii_trio.clients.outbound import connect_first
from iii_trio.clients.urls import parse_url

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Noted(trio.abc.Stream):
    """A stream that says whether it is open."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner, self.closed = inner, False

    async def send_all(self, data: bytes) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        self.closed = True
        await self.inner.aclose()


@attrs.define
class Memory:
    """An `Outbound` in memory. An address takes `delays[address]` seconds, waits for its gate, then connects or refuses."""

    serve: Callable[[trio.abc.Stream], Awaitable[None]]
    nursery: trio.Nursery
    delays: dict[str, float] = attrs.field(factory=dict)
    refuse: set[str] = attrs.field(factory=set)
    gates: dict[str, trio.Event] = attrs.field(factory=dict)
    tried: list[tuple[float, str]] = attrs.field(factory=list)
    streams: list[Noted] = attrs.field(factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        if host == "nowhere":
            raise OSError("no such name")
        return (host,)

    async def connect(self, address: str, port: int) -> trio.abc.Stream:
        self.tried.append((trio.current_time(), address))
        await trio.sleep(self.delays.get(address, 0))
        if address in self.gates:
            await self.gates[address].wait()
        if address in self.refuse:
            raise ConnectionRefusedError(f"{address} refuses")
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.serve, theirs)
        self.streams.append(Noted(ours))
        return self.streams[-1]

    @property
    def open(self) -> int:
        return sum(not stream.closed for stream in self.streams)


async def say_ok(stream: trio.abc.Stream) -> None:
    while await stream.receive_some(65536):
        await stream.send_all(OK)


async def say_nothing(stream: trio.abc.Stream) -> None:
    while await stream.receive_some(65536):
        pass


def request(host: str = "a", addresses: tuple[str, ...] | None = None) -> HttpRequest:
    url = parse_url(f"http://{host}/")
    return HttpRequest("POST", url, [(b"host", url.authority.encode()), (b"content-length", b"0")], b"", addresses)


async def fetch(client: HttpClient, asked: HttpRequest) -> bytes:
    async with client.send(asked) as response:
        return await response.read()


async def test_addresses_are_raced(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    memory = Memory(say_nothing, nursery, {"slow": 60, "slower": 70, "fast": 0.1}, {"refusing"})
    began = trio.current_time()
    await connect_first(memory, ("slow", "refusing", "fast", "never"), 80)
    assert [(at - began, address) for at, address in memory.tried] == [(0, "slow"), (0.25, "refusing"), (0.25, "fast")]
    assert trio.current_time() - began == pytest.approx(0.35)
    assert memory.open == 1


async def test_the_last_address_gets_all_the_time_there_is(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    memory = Memory(say_nothing, nursery, {"slow": 60, "refusing": 1}, {"refusing"})
    await connect_first(memory, ("refusing", "slow"), 80)
    assert memory.open == 1


async def test_two_winners_leave_one_connection(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    gate = trio.Event()
    memory = Memory(say_nothing, nursery, gates={"a": gate, "b": gate})
    async with trio.open_nursery() as racing:
        racing.start_soon(connect_first, memory, ("a", "b"), 80)
        await trio.sleep(1)
        gate.set()
    assert len(memory.streams) == 2
    assert memory.open == 1


async def test_a_winner_that_comes_with_the_cancellation_is_closed(nursery: trio.Nursery) -> None:
    gate = trio.Event()
    memory = Memory(say_nothing, nursery, gates={"a": gate})
    async with trio.open_nursery() as racing:
        racing.start_soon(connect_first, memory, ("a",), 80)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        racing.cancel_scope.cancel()
    assert len(memory.streams) == 1
    assert memory.open == 0


async def test_no_more_than_eight_addresses_are_tried(nursery: trio.Nursery) -> None:
    names = tuple(f"a{number}" for number in range(100))
    memory = Memory(say_nothing, nursery, refuse=set(names))
    with pytest.raises(OSError, match="a0 refuses; a1 refuses"):
        await connect_first(memory, names, 80)
    assert len(memory.tried) == 8


async def test_without_an_address_nothing_is_connected(nursery: trio.Nursery) -> None:
    with pytest.raises(OSError, match="no address"):
        await connect_first(Memory(say_nothing, nursery), (), 80)


async def test_a_cancelled_race_leaves_nothing_open(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    memory = Memory(say_nothing, nursery, {"slow": 60})
    with trio.move_on_after(1) as scope:
        await connect_first(memory, ("slow",), 80)
    assert scope.cancelled_caught
    assert memory.open == 0


async def test_checked_addresses_are_connected_to_and_never_looked_up(nursery: trio.Nursery) -> None:
    memory = Memory(say_ok, nursery)
    client = HttpClient(memory)
    assert await fetch(client, request("nowhere", ("1.2.3.4",))) == b"ok"
    assert [address for _, address in memory.tried] == ["1.2.3.4"]
    await client.aclose()
    with pytest.raises(RequestFailed, match="cannot connect to nowhere:80: no such name"):
        await fetch(client, request("nowhere", None))
    assert memory.open == 0


async def test_a_connection_is_used_again_until_it_is_idle_for_too_long(nursery: trio.Nursery) -> None:
    memory = Memory(say_ok, nursery)
    client = HttpClient(memory, HttpLimits(idle_seconds=60))
    for _ in range(3):
        assert await fetch(client, request()) == b"ok"
    assert len(memory.streams) == 1
    short = HttpClient(memory, HttpLimits(idle_seconds=-1))
    for _ in range(2):
        assert await fetch(short, request()) == b"ok"
    assert len(memory.streams) == 3


async def test_idle_connections_are_bounded(nursery: trio.Nursery) -> None:
    memory = Memory(say_ok, nursery)
    client = HttpClient(memory, HttpLimits(connections=4, idle=2))
    for number in range(10):
        assert await fetch(client, request(f"host{number}")) == b"ok"
        assert memory.open <= 2
    assert client.statistics().origins == 0


async def test_a_slow_origin_leaves_places_for_others(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock

    async def slow_or_ok(stream: trio.abc.Stream) -> None:
        while data := await stream.receive_some(65536):
            if b"host: slow" in bytes(data):
                await trio.sleep(10)
            await stream.send_all(OK)

    memory = Memory(slow_or_ok, nursery)
    client = HttpClient(memory, HttpLimits(connections=4, per_origin=2))
    began = trio.current_time()
    async with trio.open_nursery() as calls:
        for _ in range(6):
            calls.start_soon(fetch, client, request("slow"))
        await trio.testing.wait_all_tasks_blocked()
        assert await fetch(client, request("quick")) == b"ok"
        assert trio.current_time() == began
        assert client.statistics().in_use == 2
    assert trio.current_time() - began == 30
    assert client.statistics() == attrs.evolve(client.statistics(), in_use=0, origins=0, held=0)


async def test_what_waits_for_a_place_can_give_up(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    memory = Memory(say_nothing, nursery)
    client = HttpClient(memory, HttpLimits(connections=1))
    for _ in range(2):
        async with trio.open_nursery() as calls:
            calls.start_soon(fetch, client, request("a"))
            with trio.move_on_after(1):
                await fetch(client, request("b"))
            calls.cancel_scope.cancel()
        assert memory.open == 0
        assert client.statistics().in_use == 0


async def test_cancelled_anywhere_nothing_is_left_and_the_client_goes_on(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock

    async def dribble(stream: trio.abc.Stream) -> None:
        with trio.move_on_after(100):
            while await stream.receive_some(65536):
                for byte in OK:
                    await trio.sleep(0.1)
                    await stream.send_all(bytes([byte]))

    async def serve(stream: trio.abc.Stream) -> None:
        try:
            await dribble(stream)
        except trio.BrokenResourceError:
            await stream.aclose()

    memory = Memory(serve, nursery, {"a": 0.5})
    client = HttpClient(memory)
    for tenth in range(60):
        with trio.move_on_after(tenth / 10 + 0.05) as scope:
            await fetch(client, request())
        if not scope.cancelled_caught:
            break
        assert memory.open == 0
        assert client.statistics() == attrs.evolve(client.statistics(), in_use=0, origins=0, held=0)
    else:
        pytest.fail("never came to an end")
    assert tenth > 40
    assert memory.open == 1


async def test_closing_the_client_fails_what_is_under_way(nursery: trio.Nursery) -> None:
    client = HttpClient(Memory(say_nothing, nursery))

    async def failing() -> None:
        with pytest.raises(RequestFailed, match=r"\S"):
            await fetch(client, request())

    async with trio.open_nursery() as calls:
        calls.start_soon(failing)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def test_a_peer_that_leaves_while_it_is_sent_to(nursery: trio.Nursery) -> None:
    async def leave(stream: trio.abc.Stream) -> None:
        await stream.aclose()

    with pytest.raises(RequestFailed, match=r"\S"):
        await fetch(HttpClient(Memory(leave, nursery)), request())


def sized(count: int) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    async def serve(stream: trio.abc.Stream) -> None:
        while await stream.receive_some(65536):
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % count + bytes(count))

    return serve


async def test_one_answer_is_bounded(nursery: trio.Nursery) -> None:
    client = HttpClient(Memory(sized(100), nursery), HttpLimits(answer=100))
    assert await fetch(client, request()) == bytes(100)
    memory = Memory(sized(101), nursery)
    client = HttpClient(memory, HttpLimits(answer=100))
    with pytest.raises(ResponseFailed, match="more than 100 bytes"):
        await fetch(client, request())
    assert memory.open == 0
    assert client.statistics().held == 0


async def test_all_answers_together_are_bounded(nursery: trio.Nursery) -> None:
    client = HttpClient(Memory(sized(60), nursery), HttpLimits(answer=100, answers=100))
    async with client.send(request("a")) as first:
        assert len(await first.read()) == 60
        assert client.statistics().held == 60
        with pytest.raises(ResponseFailed, match="more than 100 bytes of answers"):
            await fetch(client, request("b"))
        assert client.statistics().held == 60
    assert await fetch(client, request("b")) == bytes(60)
    assert client.statistics().held == 0


async def test_a_body_that_nobody_reads_costs_the_connection(nursery: trio.Nursery) -> None:
    memory = Memory(sized(5_000_000), nursery)
    client = HttpClient(memory)
    async with client.send(request()) as response:
        assert response.status == 200
    assert memory.open == 0


async def test_a_peer_that_reads_nothing_does_not_hold_up_the_end(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock

    async def never_read(_: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    memory = Memory(never_read, nursery)
    client = HttpClient(memory)
    with trio.move_on_after(1) as scope:
        await fetch(client, request())
    assert scope.cancelled_caught
    assert trio.current_time() == scope.deadline
    await client.aclose()
    assert memory.open == 0
    nursery.cancel_scope.cancel()
