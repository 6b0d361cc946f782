"""One request on a connection and its answer: between hypercorn's events and the seam."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import trio
from hypercorn.trio.task_group import TaskGroup

from .answer import Framing, framing_of, own_fields
from .head import split_target
from .hypercorn_http2 import FLOW_WINDOW, STREAM
from .hypercorn_protocol import Settings
from .seam import Request, Response, StreamBroken

_log = logging.getLogger("iii_trio.http")
_PIECES_AHEAD: Final = 4
_Send = Callable[[Any], Awaitable[None]]


class Speaker(Protocol):
    """The connection as an exchange needs it."""

    settings: Settings

    def speaking(self) -> AbstractContextManager[None]:
        """Say something that a stop must not cut."""
        ...

    async def flush(self) -> None:
        """Send what the protocol holds back."""
        ...

    async def took(self, stream_id: int | None, size: int) -> None:
        """A handler has taken a part of its request's body."""
        ...

    async def cut(self, stream_id: int | None) -> None:
        """End the connection, or the stream that a number names, at once, in the middle of an answer."""
        ...


class Exchanges(TaskGroup):
    """The tasks of a connection: one for each request in turn."""

    def __init__(self, connection: Speaker) -> None:
        super().__init__()
        self._connection = connection

    async def spawn_app(self, _app: object, _config: object, scope: Any, send: _Send) -> Any:
        """Begin the answer to a request; returns where hypercorn puts the pieces of its body."""
        exchange = Exchange(self._connection, scope, send)
        assert self._nursery is not None
        self._nursery.start_soon(exchange.run, name="request")
        return exchange.put


class Exchange:
    """One request and its answer."""

    def __init__(self, connection: Speaker, scope: Any, send: _Send) -> None:
        self._connection, self._scope, self._send = connection, scope, send
        self._client, self._is_gone = trio.CancelScope(), False
        self._stream_id: int | None = scope["state"].get(STREAM)
        ahead = _PIECES_AHEAD if self._stream_id is None else FLOW_WINDOW
        self._put, self._pieces = trio.open_memory_channel[bytes](ahead)

    async def put(self, event: Any) -> None:
        """Take a piece of the body, its end, or the news that the client is gone. Waits while the handler is behind."""
        if event["type"] == "http.disconnect":
            self._is_gone = True
            self._client.cancel(reason="the client is gone")
            self._put.close()
        elif event["body"]:
            try:
                await self._put.send(event["body"])
            except (trio.BrokenResourceError, trio.ClosedResourceError):  # answered already: nobody wants the rest
                await self._connection.took(self._stream_id, len(event["body"]))
        else:
            self._put.close()

    async def run(self) -> None:
        """Answer, unless the client leaves first. The rest of the body is read before the connection goes on."""
        response: Response | None = None
        is_whole = False
        with self._put, self._pieces:
            try:
                with self._client:
                    response = await self._connection.settings.handler(self._request())
                if response is not None and not self._is_gone:
                    is_whole = await self._answer(response)
            finally:
                if response is not None:
                    response.release()
        if is_whole:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, response: Response) -> bool:
        """Send all but the end of the answer; False if it broke off."""
        framing = framing_of(response, is_head=self._scope["method"] == "HEAD", version=self._scope["http_version"])
        with self._connection.speaking():
            await self._send(self._head(response, framing))
            first = response.body if response.stream is None else response.body[: framing.length]
            if first and framing.has_body:
                await self._send_body(first)
            await self._connection.flush()
        if response.stream is not None and not await self._send_stream(response.stream, framing, len(first)):
            return False
        response.release()  # nobody else may take the rest of the request's body now
        if not response.close or self._stream_id is not None:
            await self._discard_rest(self._connection.settings.limits.drain_timeout)
        return True

    async def _send_stream(self, stream: Callable[[], Awaitable[bytes]], framing: Framing, sent: int) -> bool:
        """Send each piece as it comes; False if the answer ended before its end, and the connection with it."""
        left = None if framing.length is None else framing.length - sent
        try:
            with trio.CancelScope() as self._client:
                if self._is_gone:
                    self._client.cancel(reason="the client is gone")
                while piece := await stream():
                    if framing.has_body:
                        piece = piece if left is None else piece[:left]
                        left = None if left is None else left - len(piece)
                        await self._send_body(piece)
                if not (framing.has_body and left):
                    return True
        except StreamBroken as error:
            _log.warning("a streamed answer broke off: %s", error)
        await self._connection.cut(self._stream_id)
        return False

    async def _send_body(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def _request(self) -> Request:
        path, query = split_target(self._target())
        scope, client = self._scope, self._scope["client"]
        return Request(
            scope["method"],
            path,
            query,
            scope["headers"],
            self._receive,
            scope["http_version"],
            client[0] if client else "",
        )

    def _target(self) -> bytes:
        query = self._scope["query_string"]
        return bytes(self._scope["raw_path"] + (b"?" + query if query else b""))

    def _head(self, response: Response, framing: Framing) -> dict[str, Any]:
        headers = own_fields(response)
        if framing.length is not None:
            headers.append((b"content-length", b"%d" % framing.length))
        if response.close and self._stream_id is None:
            headers.append((b"connection", b"close"))
        return {"type": "http.response.start", "status": response.status, "headers": headers}

    async def _receive(self) -> bytes:
        try:
            piece = await self._pieces.receive()
        except trio.EndOfChannel:
            return b""
        await self._connection.took(self._stream_id, len(piece))
        return piece

    async def _discard_rest(self, patience: float) -> None:
        with trio.move_on_after(patience):
            while await self._receive():
                pass
