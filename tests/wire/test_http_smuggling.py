"""The corpus of http_corpus.py against both servers over TCP, whole and byte by byte (http.md 13)."""

from collections.abc import Iterator
from typing import Any

import pytest
import trio
from http_corpus import CASES, NEXT, TAKEN_BY_H11, Case
from http_rig import Client, serve_handler

from iii_trio.modules.http import Request, Response, ServerLimits

QUICK = ServerLimits(linger=0.2)
_SMALL = 3000


def expected(case: Case, server: str) -> tuple[int, bytes, bool]:
    """Status, the body that the handler reads, and whether the request behind it is answered."""
    if server in case.stricter:
        return 400, b"", False
    return case.status, case.body, case.goes_on


class Recorder:
    """Reads every body and notes it; answers as the routes `POST /up` and `GET /next` would."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []

    async def handle(self, request: Request) -> Response:
        body = await request.read_body(1 << 20)
        name = request.path.decode()
        self.seen.append((name, body))
        if name not in {"/up", "/next"}:
            return Response(404)
        return Response(200 if request.method in {"GET", "POST"} else 405)


async def statuses(client: Client) -> list[int]:
    """The status of every answer until the connection ends."""
    found = []
    try:
        while True:
            found.append((await client.read()).status)
    except (EOFError, trio.BrokenResourceError):
        return found


async def converse(case: Case, piece: int) -> tuple[list[int], list[tuple[str, bytes]]]:
    recorder = Recorder()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(10):
        async with serve_handler(listeners, recorder.handle, QUICK):
            stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(send, stream, case.sent + NEXT, piece)
                found = await statuses(Client(stream))
                nursery.cancel_scope.cancel()
    return found, recorder.seen


async def send(stream: trio.SocketStream, data: bytes, piece: int) -> None:
    try:
        for at in range(0, len(data), piece):
            await stream.send_all(data[at : at + piece])
    except trio.BrokenResourceError:
        return  # refused already


def plans() -> Iterator[Any]:
    """Every case to every server that can; byte by byte to our own parser."""
    for server, piece in (("fast", 1 << 30), ("fast", 1), ("hypercorn", 1 << 30)):
        for case in CASES:
            if server not in case.cannot:
                yield pytest.param(
                    server, case, piece, id=f"{server}-{case.name}-{'bytewise' if piece == 1 else 'whole'}"
                )


@pytest.mark.parametrize(("server", "case", "piece"), list(plans()), indirect=["server"])
async def test_every_server_sees_the_same_requests(server: str, case: Case, piece: int) -> None:
    """Accepted or refused as http.md 13 says; a refused request has no second answer behind it."""
    if piece == 1 and len(case.sent) > _SMALL:
        piece = 4096
    status, body, goes_on = expected(case, server)
    found, seen = await converse(case, piece)
    assert found == [one for one in (status, 200 if goes_on else 0) if one]  # http 84, 87, 98, 99
    if goes_on:
        assert len(seen) == 2
        assert seen[0][1] == body
        assert seen[1] == ("/next", b"")
    else:
        assert not seen


def test_what_hypercorn_takes_wrongly_is_listed() -> None:
    assert [case.name for case in CASES if case.cannot] == [f"chunks: {name}" for name in TAKEN_BY_H11]


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
