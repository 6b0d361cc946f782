"""Hypercorn's HTTP/1.1 state machine, narrowed to what this port speaks."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import attrs
import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol import events
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from .answer import Dates
from .head import is_strict, refusal
from .seam import RequestHandler, ServerLimits

_PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_GENERATED: Final = ((b"\r\nConnection:", b"\r\nconnection:"), (b"\r\nTransfer-Encoding:", b"\r\ntransfer-encoding:"))


def hypercorn_config() -> Config:
    """Hypercorn's settings: no log, no headers of its own."""
    config = Config()
    config.errorlog = logging.getLogger("iii_trio.http.hypercorn")
    config.include_server_header = config.include_date_header = False
    return config


@attrs.frozen(eq=False)
class Settings:
    """What all connections of a server share."""

    handler: RequestHandler
    limits: ServerLimits
    config: Config
    stop: trio.Event
    dates: Dates


class Http1(H11Protocol):
    """Hypercorn's HTTP/1.1, narrowed to what this port speaks: no upgrades, strict heads, lower-case names, a `date`."""

    def __init__(self, settings: Settings, tasks: TaskGroup, send: Callable[[Event], Awaitable[None]]) -> None:
        context, state = Context(settings.stop), ConnectionState({})
        super().__init__(no_app, settings.config, context, tasks, state, False, None, None, send)  # type: ignore[arg-type]  # it is never called
        self.connection = _Framing(settings.limits.head_size)
        self._settings = settings
        self._head = b""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore `upgrade` (13)."""

    async def _create_stream(self, request: h11.Request) -> None:
        headers = list(request.headers)
        status = refusal(request.target, request.http_version, headers, self._settings.limits)
        if status is not None:
            if request.method != b"PRI":  # HTTP/2 is not spoken here, and its preface gets no answer (13)
                await self._send_error_response(status)
            await self.send(Closed())
            return
        self.stream = HTTPStream(
            self.app, self.config, self.context, self.task_group, False, None, None, self.stream_send, STREAM_ID
        )
        await self.stream.handle(
            events.Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    async def stream_send(self, event: events.Event) -> None:
        if isinstance(event, events.Response):
            head = h11.Response(headers=event.headers, status_code=event.status_code)
            await self._send_h11_event(head)
        else:
            await super().stream_send(event)

    async def _send_error_response(self, status_code: int) -> None:
        known = status_code if status_code in {414, 431} else 400
        await super()._send_error_response(known)

    async def _send_h11_event(self, event: Any) -> None:
        if isinstance(event, h11.Response):
            event = h11.Response(
                headers=[*event.headers, *self._date(event)],
                status_code=event.status_code,
                reason=_PHRASES.get(event.status_code, b"<none>"),
            )
        elif isinstance(event, h11.InformationalResponse):
            event = h11.InformationalResponse(headers=[], status_code=event.status_code, reason=b"Continue")
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise  # pragma: no cover  # a mistake of ours, which the connection reports
            return  # the request broke and was answered 400 while its handler began to answer
        await self._send_joined(event, data or b"")

    async def _send_joined(self, event: Any, data: bytes) -> None:
        """Hold a head back until the body or `flush` follows it, so that a small answer is one segment."""
        if isinstance(event, h11.Response):
            for generated, lower in _GENERATED:
                data = data.replace(generated, lower)
            self._head = data
            return
        head, self._head = self._head, b""
        await self.send(RawData(data=head + data))

    async def flush(self) -> None:
        """Send a head that is still held back."""
        head, self._head = self._head, b""
        await self.send(RawData(data=head))

    def _date(self, event: h11.Response) -> list[tuple[bytes, bytes]]:
        return [] if any(name == b"date" for name, _ in event.headers) else [(b"date", self._settings.dates.current())]


class _Framing(h11.Connection):
    """h11 where it is too lenient (folded lines, bare line feeds) and where it is too strict.

    What follows a request that is to be the last is ignored, where h11 would make an error of it before the answer.
    """

    def __init__(self, head_size: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=head_size)
        self._head: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        if self.their_state is h11.IDLE:
            self._head.append(data)
        super().receive_data(data)

    def start_next_cycle(self) -> None:
        super().start_next_cycle()
        self._head = [self.trailing_data[0]]

    def next_event(self) -> Any:
        if self.their_state in {h11.MUST_CLOSE, h11.CLOSED}:
            return h11.NEED_DATA
        event = super().next_event()
        if isinstance(event, h11.Request):
            raw, self._head = b"".join(self._head), []
            if not is_strict(raw):
                raise h11.RemoteProtocolError("a head that can be read in two ways")
        return event


async def no_app(*_: object) -> None:
    """Stands where hypercorn expects an application; requests go to `Exchange` instead."""


class _Terminated:
    """Whether the server stops, in the form hypercorn asks for it."""

    def __init__(self, stop: trio.Event) -> None:
        self.is_set = stop.is_set


class Context(WorkerContext):
    """What hypercorn's protocols ask about the program around them."""

    def __init__(self, stop: trio.Event) -> None:
        super().__init__(None)
        self.terminated = _Terminated(stop)  # type: ignore[assignment]  # all of an event that is asked
