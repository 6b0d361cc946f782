"""The floor: a router of calls that does nothing else, for the engine's figures to be divided by.

It understands the registration of a function, a call and its result, trusts everybody, limits nothing, counts nothing
and forgets nothing. What it shares with a good engine is how it moves bytes: every frame of one read is handled at
once, and each peer gets what the read made for it in a single direct send.

    python -m tests.bench.floor PORT
"""

import socket
import sys
from typing import Final

import attrs
import msgspec
import trio
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

_READ_SIZE = 256 * 1024
_NULL: Final = msgspec.Raw(b"null")
_GREETING: Final = b'{"type":"workerregistered","worker_id":"floor"}'
_CALL: Final = b'{"type":"invokefunction","invocation_id":"%b","function_id":"%b","data":%b}'
_RESULT: Final = b'{"type":"invocationresult","invocation_id":"%b","function_id":"%b","result":%b}'


class Said(msgspec.Struct):
    """What any message may carry that matters here."""

    type: str
    id: str = ""
    function_id: str = ""
    invocation_id: str | None = None
    data: msgspec.Raw = _NULL
    result: msgspec.Raw = _NULL


_read: Final = msgspec.json.Decoder(Said).decode


@attrs.define(eq=False)
class Router:
    """Who offers which function, who waits for which result, and whom this read has made something for."""

    offers: dict[str, "Peer"] = attrs.field(factory=dict)
    waiting: dict[str, "Peer"] = attrs.field(factory=dict)
    touched: list["Peer"] = attrs.field(factory=list)

    def route(self, sender: "Peer", text: bytes) -> None:
        said = _read(text)
        if said.type == "registerfunction":
            self.offers[said.id] = sender
        elif said.invocation_id is None:
            return
        elif said.type == "invokefunction" and (owner := self.offers.get(said.function_id)) is not None:
            self.waiting[said.invocation_id] = sender
            owner.say(_CALL % (said.invocation_id.encode(), said.function_id.encode(), bytes(said.data)))
        elif said.type == "invocationresult" and (caller := self.waiting.pop(said.invocation_id, None)) is not None:
            caller.say(_RESULT % (said.invocation_id.encode(), said.function_id.encode(), bytes(said.result)))

    def flush(self) -> None:
        for peer in self.touched:
            peer.flush()
        self.touched.clear()


@attrs.define(eq=False)
class Peer:
    """One connection."""

    _socket: socket.socket
    _router: Router
    _protocol: ServerProtocol = attrs.field(factory=lambda: ServerProtocol(max_size=None))
    _unsent: bytes = b""
    _stuck: trio.Event = attrs.field(factory=trio.Event)
    _is_touched: bool = False

    async def serve(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read()
                nursery.cancel_scope.cancel(reason="the peer has gone")
        except* OSError:
            pass
        self._socket.close()

    async def _read(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            if not (data := self._socket.recv(_READ_SIZE)):
                return
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    self._protocol.send_response(self._protocol.accept(event))
                    self.say(_GREETING)
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    self._router.route(self, bytes(event.data))
                elif isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                    return
            self._touch()  # the protocol may have something to say of its own
            self._router.flush()

    def say(self, text: bytes) -> None:
        self._protocol.send_text(text)
        self._touch()

    def _touch(self) -> None:
        if not self._is_touched:
            self._is_touched = True
            self._router.touched.append(self)

    def flush(self) -> None:
        self._is_touched = False
        data = b"".join(self._protocol.data_to_send())
        if self._unsent:
            self._unsent += data
            return
        self._unsent = data[self._send(data) :]
        if self._unsent:
            self._stuck.set()  # from here on it is the writing task's

    def _send(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # that peer has gone; its own reader will see it

    async def _write(self) -> None:
        while True:
            await self._stuck.wait()
            self._stuck = trio.Event()
            while self._unsent:
                await trio.lowlevel.wait_writable(self._socket)
                self._unsent = self._unsent[self._send(self._unsent) :]


async def main(port: int) -> None:
    router = Router()
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(listener)
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                nursery.start_soon(Peer(accepted, router).serve)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
