"""The floor of HTTP: the least a Trio program with `httptools` does to answer a request: `python -m tests.bench.http_floor PORT`.

It reads, parses, echoes the body as JSON and writes, each with a direct call on the socket. It trusts everybody: no limits, no
deadlines, no checks, no routes, no calls.
"""

import socket
import sys
from email.utils import formatdate

import attrs
import httptools
import trio

_READ_SIZE = 256 * 1024


@attrs.define(eq=False)
class Client:
    """One connection."""

    _socket: socket.socket
    _body: bytes = b""
    _headers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    _answers: list[bytes] = attrs.field(factory=list)

    async def serve(self) -> None:
        parser = httptools.HttpRequestParser(self)
        try:
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                if not (data := self._socket.recv(_READ_SIZE)):
                    break
                parser.feed_data(data)
                self._socket.send(b"".join(self._answers))
                self._answers.clear()
        except OSError:
            pass
        self._socket.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._answers.append(_ANSWER % (len(self._body), DATE, self._body))
        self._body = b""
        self._headers.clear()


_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\ndate: %b\r\n\r\n%b"
DATE = formatdate(usegmt=True).encode()


async def main(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(listener)
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                nursery.start_soon(Client(accepted).serve)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
