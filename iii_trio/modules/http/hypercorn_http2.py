"""Hypercorn's HTTP/2, narrowed to what this port speaks: over TLS, requests only, and bodies no faster than they are taken."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from h2.events import DataReceived, RequestReceived
from h2.exceptions import ProtocolError
from hypercorn.events import Event
from hypercorn.protocol import events
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import ConnectionState
from hypercorn.utils import filter_pseudo_headers

from .head import refusal
from .hypercorn_protocol import Context, Settings, no_app

FLOW_WINDOW: Final = 65_535
"""Bytes of bodies that a connection may have sent and no handler has taken yet (the default of RFC 9113, 6.9.2)."""

STREAM: Final = "iii_stream"
"""Where a request's state says which HTTP/2 stream it came on."""

_NOT_IN_HTTP2: Final = frozenset({b"connection", b"upgrade", b"proxy-connection", b"te"})


class Http2(H2Protocol):
    """HTTP/2 with our limits and our `date`.

    hypercorn acknowledges a body as it comes and waits, with everything else on the connection, for its handler. Here
    what is not taken is not acknowledged: the client stops, and the connection goes on.
    """

    def __init__(self, settings: Settings, tasks: TaskGroup, send: Callable[[Event], Awaitable[None]]) -> None:
        context, state = Context(settings.stop), ConnectionState({})
        super().__init__(no_app, settings.config, context, tasks, state, True, None, None, send)  # type: ignore[arg-type]  # it is never called
        self._settings = settings

    async def flush(self) -> None:
        """Send what the protocol holds back."""
        await self._flush()

    async def grant(self, stream_id: int, size: int) -> None:
        """Let the client send `size` more bytes of bodies."""
        try:
            self.connection.acknowledge_received_data(size, stream_id)
        except (ProtocolError, KeyError):
            return  # the stream, or the connection, is over
        await self._flush()

    async def reset(self, stream_id: int) -> None:
        """End a stream so that the client cannot take its answer for complete."""
        try:
            self.connection.reset_stream(stream_id)
        except ProtocolError:
            return  # the client was faster
        await self._close_stream(stream_id)
        await self._flush()

    async def stream_send(self, event: events.Event) -> None:
        if isinstance(event, events.Response):
            headers = [field for field in event.headers if field[0] not in _NOT_IN_HTTP2]
            if all(name != b"date" for name, _ in headers):
                headers.append((b"date", self._settings.dates.current()))
            event = events.Response(event.stream_id, headers, event.status_code)
        await super().stream_send(event)

    async def _handle_events(self, received: list[Any]) -> None:
        for event in received:
            if isinstance(event, DataReceived):
                await self._take_data(event)
            else:
                await super()._handle_events([event])
        await self._flush()

    async def _take_data(self, event: DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        size = len(event.data)
        if stream is not None and not stream.closed and size:
            await stream.handle(events.Body(stream_id=event.stream_id, data=event.data))
            size = 0
        unused = event.flow_controlled_length - len(event.data) + size
        if unused:
            await self.grant(event.stream_id, unused)

    async def _create_stream(self, request: RequestReceived) -> None:
        fields = list(request.headers)
        pseudo = dict(field for field in fields if field[0].startswith(b":"))
        method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
        headers = filter_pseudo_headers(fields)
        status = refusal(target, b"1.1", headers, self._settings.limits) if method != b"CONNECT" else 400
        if status is not None or not target.isascii():
            self.connection.send_headers(request.stream_id, [(b":status", b"%d" % (status or 400))], end_stream=True)
            return
        stream_id = request.stream_id
        self.streams[stream_id] = HTTPStream(
            self.app, self.config, self.context, self.task_group, True, None, None, self.stream_send, stream_id
        )
        self.stream_buffers[stream_id] = StreamBuffer(self.context.event_class)
        self.priority.insert_stream(stream_id)
        self.priority.block(stream_id)
        await self.streams[stream_id].handle(
            events.Request(
                stream_id=stream_id,
                headers=headers,
                http_version="2",
                method=method.decode("ascii"),
                raw_path=target,
                state=ConnectionState({STREAM: stream_id}),
            )
        )
        self.keep_alive_requests += 1
