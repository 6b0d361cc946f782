"""What a thousand workers that do nothing cost in memory."""

import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from .peers import announcement
from .processes import Router, engine, running
from .results import Idle

WORKERS = 1000
_SPARE_FILES = 200


def measure_idle(workers: int = WORKERS) -> Idle:
    """Connect workers that announce themselves and then say nothing; resident memory before and after."""
    _allow_files(workers + _SPARE_FILES)
    with running(engine()) as router, ExitStack() as connected:
        empty = resident_mib(router.pid)
        for _ in range(workers):
            connected.enter_context(connect_idle(router))
        return Idle(workers, empty, resident_mib(router.pid))


def connect_idle(router: Router) -> socket.socket:
    """A connection that has been greeted and whose announcement has been handled: the engine has answered a ping."""
    peer = socket.create_connection(("127.0.0.1", router.port), timeout=10)
    protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{router.port}/"))
    protocol.send_request(protocol.connect())
    peer.sendall(b"".join(protocol.data_to_send()))
    read_until(peer, b'"workerregistered"')
    said = (announcement(), b'{"type":"ping"}')
    peer.sendall(b"".join(Frame(Opcode.TEXT, text).serialize(mask=True) for text in said))
    read_until(peer, b'"pong"')
    return peer


def read_until(peer: socket.socket, expected: bytes) -> None:
    """Read until the bytes `expected` have come. Raises ConnectionError if the other side ends, TimeoutError."""
    received = b""
    deadline = time.perf_counter() + 10
    while expected not in received:
        data = peer.recv(65536)
        if not data or time.perf_counter() > deadline:
            raise ConnectionError(f"no {expected!r} but {received[-200:]!r}")
        received += data


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB, exactly (`VmRSS` of `status` is an estimate on new kernels)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"process {pid} has no resident memory")


def _allow_files(wanted: int) -> None:
    """Raise the soft limit of open files, for this process and the engine it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
