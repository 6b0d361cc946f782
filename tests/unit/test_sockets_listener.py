"""The opening handshake over streams that misbehave, and the accept loop when the system does (wire-protocol 1.1)."""

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors import ChildSpec, DynamicSupervisor, open_supervisor
from iii_trio.kernel import Kernel, TrioClock
from iii_trio.sockets import KnownPath, Refusal, Turn, Upgrade, read_upgrade
from iii_trio.sockets.handshake import MAX_HEAD, refusal_response
from iii_trio.sockets.stream import TrioStream
from iii_trio.transport import ListenerSettings, WorkerListener

PATHS = KnownPath("/", "/otel")
HEAD = (
    b"GET /otel?a=1&a=2&empty= HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Token: t\r\n\r\n"
)


async def _read(data: bytes, *, step: int = 1 << 20, end: bool = False) -> Upgrade | Refusal | None:
    ours, theirs = trio.testing.memory_stream_pair()
    for at in range(0, len(data), step):
        await ours.send_all(data[at : at + step])
    if end:
        await ours.send_eof()
    return await read_upgrade(TrioStream(theirs), PATHS)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
async def test_an_upgrade_is_read_whole_with_what_follows(step: int) -> None:
    upgrade = await _read(HEAD + b"\x81\x80behind", step=step)
    assert isinstance(upgrade, Upgrade)
    assert upgrade.path == "/otel"
    assert upgrade.query == {"a": ["1", "2"], "empty": [""]}
    assert ("x-token", "t") in upgrade.headers
    assert b"\x81\x80behind".startswith(upgrade.leftover)


@pytest.mark.parametrize("data", [b"", HEAD[:50]])
async def test_a_peer_that_leaves_early_gets_nothing(data: bytes) -> None:
    assert await _read(data, end=True) is None
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()
    assert await read_upgrade(TrioStream(theirs), PATHS) is None
    await ours.aclose()


async def test_a_head_without_end_is_refused_at_its_limit() -> None:
    refusal = await _read(b"GET / HTTP/1.1\r\nx: " + b"y" * (MAX_HEAD + 10))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 431
    assert refusal_response(refusal).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("target", ["//[", "//host/otel", "//]/otel", "/otel/", "otel", "http:/otel", "//", "*"])
async def test_a_target_that_is_no_known_path_is_refused_whatever_it_looks_like(target: str) -> None:
    refusal = await _read(HEAD.replace(HEAD.split()[1], target.encode(), 1))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404


@pytest.mark.parametrize("target", ["http://[::1]:49134/otel?a=1", "ws://host/otel?a=1#part", "/otel?a=1#part"])
async def test_a_whole_url_is_a_target_too(target: str) -> None:
    upgrade = await _read(HEAD.replace(HEAD.split()[1], target.encode(), 1))
    assert isinstance(upgrade, Upgrade)
    assert (upgrade.path, upgrade.query) == ("/otel", {"a": ["1"]})


def test_refusals_are_whole_answers() -> None:
    assert refusal_response(Refusal(404)) == b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    assert b"allow: GET,HEAD\r\n" in refusal_response(Refusal(405, allow="GET,HEAD"))
    assert refusal_response(Refusal(400, "why")).endswith(b"\r\n\r\nwhy")


@attrs.define(eq=False)
class Acceptor(trio.abc.Listener[trio.abc.Stream]):
    """A listener whose next results are scripted; then it waits."""

    script: list[trio.abc.Stream | Exception]
    closed: bool = False

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if not self.script:
            await trio.sleep_forever()
        result = self.script.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_listener(
    acceptor: Acceptor, **options: object
) -> AsyncIterator[tuple[WorkerListener, DynamicSupervisor]]:
    """A listener without an engine around it."""
    kernel = Kernel(clock=TrioClock())
    connections = DynamicSupervisor("connections")

    async def bind() -> list[Acceptor]:
        await trio.lowlevel.checkpoint()
        return [acceptor]

    listener = WorkerListener(kernel, connections, ListenerSettings(**options), Turn(), bind)  # type: ignore[arg-type]
    specs = [ChildSpec.supervisor("connections", lambda: connections), ChildSpec("listener", listener.run)]
    async with open_supervisor(specs):
        yield listener, connections


async def test_an_exhausted_system_is_waited_out(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    acceptor = Acceptor([OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENOMEM, "no"), theirs])
    async with open_listener(acceptor) as (_, connections):
        await ours.send_all(b"GET /nope HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await ours.receive_some()).startswith(b"HTTP/1.1 404 ")
        assert trio.current_time() == pytest.approx(0.2)
        assert connections.statistics().started == 1
    assert [record.levelno for record in caplog.records if "cannot accept" in record.message] == [logging.ERROR] * 2
    assert acceptor.closed


async def test_a_closed_address_ends_the_accept_loop_and_nothing_else() -> None:
    acceptor = Acceptor([trio.ClosedResourceError()])
    async with open_listener(acceptor) as (listener, _):
        await trio.testing.wait_all_tasks_blocked()
        assert acceptor.closed
        listener.stop_accepting()


async def test_any_other_error_of_the_address_restarts_the_listener() -> None:
    acceptor = Acceptor([OSError(errno.EINVAL, "broken")])
    async with open_listener(acceptor) as (listener, connections):
        await trio.testing.wait_all_tasks_blocked()
        assert acceptor.script == []
        assert listener.statistics().closed == {}
        assert connections.statistics().crashed == 0


async def test_a_connection_gone_before_it_was_accepted_is_no_connection() -> None:
    # its peer reset it while it waited in the backlog: it has no peer name any more
    reset = trio.SocketStream.__new__(trio.SocketStream)
    reset.socket = trio.socket.socket()
    async with open_listener(Acceptor([])) as (listener, connections):
        assert listener.serve(reset) is None
        assert connections.statistics().started == 0
    assert reset.socket.fileno() == -1


async def test_a_peer_that_does_not_wait_for_its_refusal_is_let_go() -> None:
    async def break_off() -> None:
        raise trio.BrokenResourceError

    ours, theirs = trio.testing.memory_stream_pair()
    theirs.send_stream.send_all_hook = break_off
    async with open_listener(Acceptor([theirs])) as (listener, connections):
        await ours.send_all(b"GET /nope HTTP/1.1\r\nhost: x\r\n\r\n")
        while connections.statistics().running:
            await trio.testing.wait_all_tasks_blocked()
        assert listener.statistics().closed == {"handshake_refused": 1}
        assert connections.statistics().crashed == 0


async def test_a_stop_drops_those_who_are_still_shaking_hands(autojump_clock: MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with open_listener(Acceptor([theirs])) as (listener, connections):
        await ours.send_all(HEAD[:20])
        await trio.testing.wait_all_tasks_blocked()
        assert connections.statistics().running == 1
    assert await ours.receive_some() == b""
    assert listener.serve(theirs) is None
    assert listener.statistics().closed == {"too_many_connections": 1}
