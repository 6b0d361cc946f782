"""HTTP endpoints elsewhere: local servers that note requests and answer by path, byte for byte."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

OK = b'{"ok":true}'
Script = bytes | Callable[[trio.abc.Stream], Awaitable[None]]
"""What is sent for a path: bytes as they are, or whatever a coroutine does with the stream; then the connection ends."""


def answer(status: str, body: bytes = b"", *headers: str, kind: str = "application/json") -> bytes:
    """A whole answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@attrs.frozen
class Seen:
    """A request as it came. Header names are in lower case; one that came twice is there twice."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes
    connection: int

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.fields)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.define
class Endpoint:
    """One server. `arrived` is set anew by each request."""

    host: str = "127.0.0.1"
    port: int = 0
    scheme: str = "http"
    answers: dict[str, Script] = attrs.field(factory=dict)
    seen: list[Seen] = attrs.field(factory=list)
    connections: int = 0
    open: int = 0
    arrived: trio.Event = attrs.field(factory=trio.Event)

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://{self.host}:{self.port}{path}"

    async def wait_seen(self, count: int) -> None:
        with trio.fail_after(5):
            while len(self.seen) < count:
                await self.arrived.wait()
                self.arrived = trio.Event()

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            async with stream:
                rest = b""
                while True:
                    request, rest = await self._request(stream, rest, number)
                    self.seen.append(request)
                    self.arrived.set()
                    script = self.answers.get(request.target.partition("?")[0], answer("200 OK", OK))
                    if not isinstance(script, bytes):
                        await script(stream)
                        return
                    await stream.send_all(script)
        except (EOFError, trio.BrokenResourceError):
            pass
        finally:
            self.open -= 1

    async def _request(self, stream: trio.abc.Stream, data: bytes, number: int) -> tuple[Seen, bytes]:
        while b"\r\n\r\n" not in data:
            data += await self._more(stream)
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = int(dict(fields).get("content-length", 0))
        while len(rest) < length:
            rest += await self._more(stream)
        method, target, _ = first.split(" ")
        return Seen(method, target, fields, rest[:length], number), rest[length:]

    async def _more(self, stream: trio.abc.Stream) -> bytes:
        data = await stream.receive_some(65536)
        if not data:
            raise EOFError
        return bytes(data)


@asynccontextmanager
async def open_endpoint(*, tls: ssl.SSLContext | None = None, **answers: Script) -> AsyncIterator[Endpoint]:
    """A server on a free port of 127.0.0.1; `name=script` answers the path `/name`."""
    endpoint = Endpoint(answers={f"/{name}": script for name, script in answers.items()})
    (listener,) = await trio.open_tcp_listeners(0, host=endpoint.host)
    endpoint.port = listener.socket.getsockname()[1]

    async def serve(stream: trio.SocketStream) -> None:
        if tls is None:
            await endpoint.serve(stream)
            return
        await endpoint.serve(trio.SSLStream(stream, tls, server_side=True, https_compatible=True))

    endpoint.scheme = "http" if tls is None else "https"
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield endpoint
        nursery.cancel_scope.cancel()
