"""Endpoints, handshakes, frames and closes of the worker listener (wire-protocol 1)."""

import json
import re
import uuid

import pytest
import trio
from trio.testing import MockClock
from wire_client import (
    BINARY,
    CLOSE,
    LEGACY,
    MIB,
    MODERN,
    PING,
    PONG,
    Json,
    RawPeer,
    World,
    eventually,
    frame,
    open_world,
    upgrade_request,
)

from iii_trio.kernel import TrioClock
from iii_trio.testing import MemoryNetwork


async def test_every_connection_is_greeted_with_an_id_and_a_token_of_its_own(world: World) -> None:
    # wire 1
    sockets = [await world.open_socket(path) for path in ("/", "/?a=1&a=2&unknown")]
    greetings = [await client.hear("workerregistered") for client in sockets]
    texts = [greeting[member] for greeting in greetings for member in ("worker_id", "reattach_token")]
    assert [str(uuid.UUID(text)) for text in texts] == texts
    assert {uuid.UUID(text).version for text in texts} == {4}
    assert len(set(texts)) == 4
    assert all(set(greeting) == {"type", "worker_id", "reattach_token"} for greeting in greetings)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 400),
        ("GET", "/otel", 400),
        ("GET", "/nope", 404),
        ("POST", "/nope", 404),
        ("GET", "/otel/", 404),
        ("POST", "/", 405),
        ("HEAD", "/", 405),
        ("OPTIONS", "/", 405),
        ("PUT", "/otel", 405),
    ],
)
async def test_what_is_no_websocket_is_refused(world: World, method: str, path: str, status: int) -> None:
    # wire 2
    peer = await world.raw()
    await peer.stream.send_all(f"{method} {path} HTTP/1.1\r\nhost: engine\r\n\r\n".encode())
    head, _, body = (await peer.read_all()).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert bool(body) == (status == 400)
    assert (b"\r\nallow: GET,HEAD" in head) == (status == 405 and method != "HEAD")
    assert world.closed == {"handshake_refused": 1}


@pytest.mark.parametrize(
    ("request_head", "field"),
    [
        (upgrade_request(leave_out="connection", upgrade="nope"), b"Connection"),
        (upgrade_request(leave_out="upgrade", sec_websocket_version="12"), b"Upgrade"),
        (upgrade_request(sec_websocket_version="12"), b"Sec-WebSocket-Version"),
        (upgrade_request(leave_out="sec-websocket-key"), b"Sec-WebSocket-Key"),
        (b"\x16\x03\x01\x00\xa5 TLS\r\n\r\n", b"HTTP"),
    ],
)
async def test_a_bad_upgrade_hears_the_first_check_that_failed(world: World, request_head: bytes, field: bytes) -> None:
    # wire 2
    peer = await world.raw()
    await peer.stream.send_all(request_head)
    head, _, body = (await peer.read_all()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert field in body


async def test_no_extension_and_no_subprotocol_is_agreed_on(world: World) -> None:
    peer = await world.raw()
    offer = {"sec_websocket_extensions": "permessage-deflate", "sec_websocket_protocol": "iii", "origin": "http://x"}
    await peer.stream.send_all(upgrade_request(**offer))
    head = (await peer.read_until(b"\r\n\r\n")).lower()
    assert b" 101 " in head
    assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head
    assert b"extensions" not in head
    assert b"sec-websocket-protocol" not in head


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nhost: eng"])
async def test_an_unfinished_handshake_ends_without_an_answer(autojump_clock: MockClock, said: bytes) -> None:
    # wire 3
    config = {"workers": [{"name": "iii-worker-manager", "config": {"handshake_timeout_ms": 4000}}]}
    async with open_world(config, network=MemoryNetwork(), clock=TrioClock()) as world:
        idle = await world.connect()
        peer = await world.raw()
        begun = trio.current_time()
        if said:
            await peer.stream.send_all(said)
        assert await peer.read_all(within=60) == b""
        assert trio.current_time() - begun == pytest.approx(4, abs=0.1)
        assert world.closed == {"handshake_timeout": 1}
        await trio.sleep(20)
        assert await idle.fence() == []


async def test_pings_of_both_kinds_are_answered(world: World) -> None:
    # wire 4
    client = await world.connect()
    await client.say(type="ping")
    assert await client.hear("pong") == {"type": "pong"}
    peer = await world.raw()
    await peer.upgrade()
    await peer.stream.send_all(frame(b"are you there?", PING))
    answer = bytes([0x80 | PONG, 14]) + b"are you there?"
    assert (await peer.read_until(b"there?")).endswith(answer)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '"ping"',
        "{}",
        '{"type":"nope"}',
        '{"type":"Ping"}',
        '{"type":1}',
        "",
        "  \n\t ",
        '{"type":"registerfunction"}',
        '{"type":"registerfunction","id":7}',
        '{"type":"invokefunction","invocation_id":"0d2f4c1e-7a6b-4a53-8f3e-2b7f5d9c1a22","data":{}}',
        '{"type":"invokefunction","function_id":"x","invocation_id":5,"data":{}}',
        '{"type":"invokefunction","function_id":"x","invocation_id":"a","namespace":{},"data":{}}',
        '{"type":"invokefunction","function_id":"x","invocation_id":"a","traceparent":[],"data":{}}',
        '{"type":"invokefunction","function_id":"x","invocation_id":"a","data":NaN}',
        '{"type":"ping"} {"type":"ping"}',
        '\ufeff{"type":"ping"}',
        '{"type":"invokefunction","function_id":"x","invocation_id":"a","data":' + "[" * 5000 + "]" * 5000 + "}",
        '{"type":"workerregistered","worker_id":"x"}',
        '{"type":"registrationrejected","code":"x","namespace":"x","owner_worker_id":""}',
        '{"type":"pong"}',
    ],
)
async def test_what_is_no_message_is_dropped_in_silence(world: World, text: str) -> None:
    # wire 5
    client = await world.connect()
    for form in (text, text.encode()):
        await client.say_text(form)
        assert await client.fence() == []
    assert world.engine.kernel.statistics().functions == (await _functions_of_a_new_engine())


async def test_binary_that_is_neither_telemetry_nor_text_is_dropped(world: World) -> None:
    # wire 5
    client = await world.connect()
    await client.say_text(b'\xff{"type":"ping"}')
    assert await client.fence() == []


async def test_a_peer_that_leaves_during_the_handshake_is_no_connection(world: World) -> None:
    peer = await world.raw()
    await peer.stream.send_all(upgrade_request()[:30])
    await eventually(lambda: world.engine.statistics().connections.running == 1)
    await peer.stream.aclose()
    await eventually(lambda: world.engine.statistics().connections.running == 0)
    assert world.closed == {}
    assert world.engine.kernel.statistics().workers.ever_connected == 0


async def _functions_of_a_new_engine() -> object:
    async with open_world() as other:
        return other.engine.kernel.statistics().functions


async def test_protocol_messages_may_come_in_binary_frames(world: World) -> None:
    # wire 6
    peer = await world.raw()
    await peer.upgrade()
    await peer.stream.send_all(frame(b'{"type":"ping"}', BINARY))
    assert (await peer.read_until(b'"pong"}')).endswith(b'\x81\x0f{"type":"pong"}')


async def test_telemetry_is_taken_in_silence_on_both_endpoints(world: World) -> None:
    # wire 7
    caller = await world.connect()
    telemetry = await world.raw()
    await telemetry.upgrade("/otel")
    for prefix in (b"OTLP", b"MTRC", b"LOGS", b"WHAT"):
        await caller.say_text(prefix + b"{}")
        await telemetry.stream.send_all(frame(prefix + b"{}", BINARY))
    assert await caller.fence() == []
    await telemetry.stream.send_all(frame(b'{"type":"ping"}') + frame(b"!", PING))
    assert await telemetry.read_until(b"!") == bytes([0x80 | PONG, 1]) + b"!"
    listed = await caller.value("engine::workers::list")
    assert {row["runtime"] for row in listed["workers"]} == {"engine"}
    assert world.engine.statistics().listeners[0].telemetry == 1
    assert world.engine.kernel.statistics().workers.connected == 1


async def _send_fragments(peer: RawPeer, message: bytes, size: int = MIB) -> None:
    cuts = range(0, len(message), size)
    for cut in cuts:
        opcode = 1 if cut == 0 else 0
        await peer.stream.send_all(frame(message[cut : cut + size], opcode, fin=cut == cuts[-1]))


def _ping_of(size: int) -> bytes:
    head = b'{"type":"ping","padding":"'
    return head + b"x" * (size - len(head) - 2) + b'"}'


async def test_calls_and_results_of_20_mib_come_in_fragments(world: World) -> None:
    # wire 8
    executor = await world.raw()
    await executor.upgrade()
    await executor.stream.send_all(frame(b'{"type":"registerfunction","id":"big::echo"}'))
    text = "y" * (20 * MIB)
    caller = await world.connect()
    call = b'{"type":"invokefunction","function_id":"big::echo","invocation_id":"abc","data":"%b"}' % text.encode()
    sender = await world.raw()
    await sender.upgrade()
    await sender.stream.send_all(frame(b'{"type":"ping"}'))
    await sender.read_until(b'"pong"}')
    await _send_fragments(sender, call)
    seen = await executor.read_until(b'y"}')
    found = re.search(rb'"invocation_id":"([-0-9a-f]{36})"', seen[-len(text) - 200 :])
    assert found is not None
    assert seen.endswith(text.encode() + b'"}')
    answer = b'{"type":"invocationresult","invocation_id":"%b","function_id":"big::echo","result":"%b"}'
    await _send_fragments(executor, answer % (found[1], text.encode()))
    assert b'"invocation_id":"abc"' in await sender.read_until(text.encode() + b'"}')
    assert await caller.fence() == []


async def test_64_mib_pass_and_one_byte_more_ends_only_that_connection(world: World) -> None:
    # wire 8
    peer = await world.raw()
    await peer.upgrade()
    await _send_fragments(peer, _ping_of(64 * MIB), 8 * MIB)
    await peer.read_until(b'{"type":"pong"}')
    other = await world.connect()
    await _send_fragments(peer, _ping_of(64 * MIB), 8 * MIB - 1)
    await peer.read_until(b'{"type":"pong"}')
    await peer.stream.send_all(frame(b"x", 1, fin=False))
    for left in (16, 16, 16, 15):
        await peer.stream.send_all(frame(b"x" * (left * MIB), 0, fin=False))
    with trio.fail_after(5):
        await peer.stream.send_all(frame(b"x" * MIB, 0))
    assert b"pong" not in await peer.read_all()
    await peer.stream.aclose()
    await world.wait_closed("too_big")
    assert await other.fence() == []


async def test_a_frame_over_16_mib_ends_the_connection_at_its_header(world: World) -> None:
    # wire 8
    for size, survives in ((16 * MIB, True), (16 * MIB + 1, False)):
        peer = await world.raw()
        await peer.upgrade()
        if survives:
            await peer.stream.send_all(frame(_ping_of(size)))
            await peer.read_until(b'{"type":"pong"}')
        else:
            await peer.stream.send_all(frame(b"x" * size)[:14])
            assert (await peer.read_all()).endswith(b"\x88\x02" + (1009).to_bytes(2, "big"))
            await peer.stream.aclose()
    await world.wait_closed("too_big")


async def test_control_frames_may_come_between_fragments(world: World) -> None:
    # wire 8
    peer = await world.raw()
    await peer.upgrade()
    pieces = [frame(b'{"type":', fin=False), frame(b"?", PING), frame(b'"ping"', 0, fin=False), frame(b"}", 0)]
    for byte in b"".join(pieces):
        await peer.stream.send_all(bytes([byte]))
    assert (await peer.read_until(b'"pong"}')).endswith(bytes([0x80 | PONG, 1]) + b'?\x81\x0f{"type":"pong"}')


@pytest.mark.parametrize("announcement", [LEGACY, MODERN, {**MODERN, "namespace": "billing"}])
@pytest.mark.parametrize("announced_first", [True, False])
async def test_registration_announcement_and_call_may_be_pipelined(
    world: World, announcement: Json, announced_first: bool
) -> None:
    # wire 9
    peer = await world.raw()
    await peer.upgrade()
    register = {"type": "registerfunction", "id": "own::one"}
    announce = {"type": "invokefunction", "function_id": "engine::workers::register", "data": announcement}
    call: Json = {"type": "invokefunction", "function_id": "own::one", "invocation_id": "x", "data": [1]}
    call |= {"namespace": announcement["namespace"]} if "namespace" in announcement else {}
    first, second = (announce, register) if announced_first else (register, announce)
    await peer.stream.send_all(b"".join(frame(json.dumps(message).encode()) for message in (first, second, call)))
    assert b'"function_id":"own::one","data":[1]' in await peer.read_until(b'"data":[1]}')


async def test_a_peer_that_registers_2000_times_before_it_reads_is_served(world: World) -> None:
    # wire 10
    peer = await world.raw()
    await peer.stream.send_all(upgrade_request())
    for number in range(1000):
        await peer.stream.send_all(frame(b'{"type":"registerfunction","id":"f::%d"}' % number))
        trigger = b'{"type":"registertrigger","id":"t%d","trigger_type":"nope","function_id":"f","config":{}}'
        await peer.stream.send_all(frame(trigger % number))
    caller = await world.connect()
    await peer.stream.send_all(frame(b'{"type":"ping"}'))
    await peer.read_until(b'"pong"}')
    await caller.invoke("f::999", 5)
    assert b'"function_id":"f::999","data":5' in await peer.read_until(b'"data":5}')
    assert world.engine.kernel.statistics().triggers.parked == 1000


VIOLATIONS = {
    "unmasked": (frame(b"{}", masked=False), "protocol_error", 1002),
    "reserved bit": (frame(b"{}", reserved=0x40), "protocol_error", 1002),
    "unknown opcode": (frame(b"{}", 3), "protocol_error", 1002),
    "stray continuation": (frame(b"{}", 0), "protocol_error", 1002),
    "long ping": (frame(b"x" * 126, PING), "protocol_error", 1002),
    "text inside fragments": (frame(b"{}", fin=False) + frame(b"{}"), "protocol_error", 1002),
    "no utf-8": (frame(b'"\xff"'), "not_utf8", 1007),
    "no utf-8 in fragments": (frame(b'"\xc3', fin=False) + frame(b'x"', 0), "not_utf8", 1007),
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_violations_are_named_and_run_the_cleanup_once(world: World, name: str) -> None:
    # wire 102
    data, reason, status = VIOLATIONS[name]
    peer = await world.raw()
    await peer.upgrade()
    await peer.stream.send_all(frame(b'{"type":"registerfunction","id":"gone::soon"}') + data + frame(b"late"))
    assert (await peer.read_all()).endswith(b"\x88\x02" + status.to_bytes(2, "big"))
    await peer.stream.aclose()
    await world.wait_closed(reason)
    await _check_that_nobody_is_left(world)


@pytest.mark.parametrize("body", [b"", (1000).to_bytes(2, "big"), (4000).to_bytes(2, "big") + b"bye"])
async def test_a_close_of_the_peer_runs_the_cleanup_once(world: World, body: bytes) -> None:
    # wire 102
    peer = await world.raw()
    await peer.upgrade()
    data = frame(b'{"type":"registerfunction","id":"gone::soon"}') + frame(body, CLOSE) + frame(b'{"type":"ping"}')
    await peer.stream.send_all(data)
    assert b"pong" not in await peer.read_all()
    await world.wait_closed("peer_closed")
    await _check_that_nobody_is_left(world)


async def _check_that_nobody_is_left(world: World) -> None:
    statistics = world.engine.kernel.statistics()
    assert (statistics.workers.connected, statistics.workers.ever_connected) == (0, 1)
    caller = await world.connect()
    assert (await caller.error("gone::soon"))["code"] == "function_not_found"


async def test_a_dropped_connection_runs_the_cleanup(world: World) -> None:
    # wire 102
    client = await world.connect()
    await client.register("gone::soon")
    await client.fence()
    await world.leave(client)
    await world.wait_closed("peer_gone")
    caller = await world.connect()
    assert (await caller.error("gone::soon"))["code"] == "function_not_found"
