"""The two channels of a request: its body for the function to read, and an answer for it to write (http.md 6.1, 9)."""

import logging
from collections.abc import Callable
from typing import Final

import attrs
import msgspec
import trio

from iii_trio.kernel import Channel, ChannelRegistry, Item
from iii_trio.kernel.channels import Reader, Source
from iii_trio.protocol import Json
from iii_trio.protocol.errors import WorkerDisconnected
from iii_trio.sockets import BROKEN

from . import response as answers
from .seam import BodyLimitError, Request, Response, StreamBroken

_log = logging.getLogger("iii_trio.http")
_AHEAD: Final = 64 * 1024
_STATUSES: Final = range(100, 600)
NO_WRITER: Final = "whoever was to write the answer has gone"


def has_body(headers: dict[str, str]) -> bool:
    """Whether a request announces a body of at least one byte."""
    return "transfer-encoding" in headers or headers.get("content-length", "").strip("0") != ""


@attrs.define(eq=False)
class Upload:
    """A body on its way, pulled from the client when the function reads it. Nobody reads: the client waits.

    `limit` bytes are taken at most, None is no limit; `interrupt` is called when there are more.
    """

    _request: Request
    limit: int | None
    interrupt: Callable[[], object] = lambda: None
    is_too_large: bool = False
    _ahead: list[bytes] = attrs.field(factory=list)
    _left: int = 0

    @classmethod
    async def open(cls, request: Request, limit: int | None) -> "Upload":
        """Begin. Raises BodyLimitError where that can be told before the function is called.

        Of a body of unknown length up to 64 KiB are looked at for that.
        """
        declared = request.declared_length
        if limit is not None and declared is not None and declared > limit:
            raise BodyLimitError(limit)
        upload = cls(request, limit)
        upload._left = limit or 0
        if limit is not None and declared is None:
            await upload._look_ahead()
        return upload

    async def _look_ahead(self) -> None:
        size = 0
        while size < _AHEAD and (piece := await self._receive()):
            size += len(piece)
            self._ahead.append(piece)
        if self.is_too_large:
            self._refuse()

    def check(self) -> None:
        """Raises BodyLimitError once more than the limit has come."""
        if self.is_too_large:
            self._refuse()

    def _refuse(self) -> None:
        raise BodyLimitError(self.limit or 0)

    async def next(self) -> bytes:
        """The next piece, empty at the end, or when the client has gone."""
        if self._ahead:
            await trio.lowlevel.checkpoint()
            return self._ahead.pop(0)
        return await self._receive()

    async def _receive(self) -> bytes:
        try:
            piece = await self._request.receive()
        except BROKEN:
            return b""
        self._left -= len(piece)
        if self.limit is not None and self._left < 0:
            self.is_too_large = True
            self.interrupt()
            return b""
        return piece


@attrs.frozen(eq=False)
class Body:
    """A request's body: as JSON text (`null` if it is none), and where its bytes come from."""

    text: bytes
    source: Source
    upload: Upload | None = None


async def _nothing() -> bytes:
    await trio.lowlevel.checkpoint()
    return b""


NO_BODY: Final = Body(b"null", _nothing)


@attrs.define(eq=False)
class StreamedAnswer:
    """What the function has written to its `response` so far: status, headers, and the first bytes (9.2, 9.3)."""

    _reader: Reader
    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)
    is_decided: bool = False
    """Bytes have come, or the writer has finished: this is the answer, whatever the function returns."""

    interrupt: Callable[[], object] = lambda: None
    """Called when `is_decided` becomes true, in the writer's task."""

    abandoned: Callable[[], object] = lambda: None
    """Called when the writer dies before it has written a byte, in its task."""

    _first: bytes | None = None
    _settled: trio.Event = attrs.field(factory=trio.Event)

    def look(self) -> None:
        """Take what has arrived. Called by the channel."""
        if self.is_decided:
            return
        try:
            while self._first is None:
                self._take(self._reader.receive_nowait())
        except trio.WouldBlock:
            return
        except trio.EndOfChannel:
            pass
        self._settled.set()
        if self._first is not None or not self._reader.broken:
            self.is_decided = True
            self.interrupt()
        else:
            self.abandoned()

    @property
    def is_abandoned(self) -> bool:
        """Whether the writer died before it had written a byte."""
        return self._settled.is_set() and not self.is_decided

    def _take(self, item: Item) -> None:
        if not item.is_text:
            self._first = item.data
            return
        try:
            message = msgspec.json.decode(item.data)
        except (msgspec.DecodeError, RecursionError):
            return
        if isinstance(message, dict):
            self._control(message)

    def _control(self, message: dict[str, Json]) -> None:
        match message.get("type"):
            case "set_status":
                status = message.get("status_code")
                if type(status) is int and status in _STATUSES:
                    self.status = status
                else:
                    _log.warning("ignored a status from 100 to 599 that is none: %.60r", status)
            case "set_headers" if isinstance(fields := message.get("headers"), dict):
                self.headers |= {name.lower(): value for name, value in fields.items() if isinstance(value, str)}

    async def wait_decided(self) -> None:
        """Wait until it is decided. Raises WorkerDisconnected if the writer died before it had written a byte."""
        await self._settled.wait()
        if not self.is_decided:
            raise WorkerDisconnected(NO_WRITER)

    @property
    def is_empty(self) -> bool:
        """Whether the writer finished without a byte."""
        return self._first is None

    def take_first(self) -> bytes:
        """The first bytes, which go out with the head."""
        first, self._first = self._first or b"", b""
        return first

    async def next(self) -> bytes:
        """The next piece of the body, empty at the end. Raises StreamBroken if the writer died before its end."""
        piece = b""
        while not piece:
            try:
                item = await self._reader.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                if self._reader.broken:
                    raise StreamBroken("its writer has gone") from None
                return b""
            piece = b"" if item.is_text else item.data
        return piece


@attrs.define(eq=False)
class RequestChannels:
    """Both channels of one request, from the call of the function to the end of the answer.

    They cost next to nothing while the function opens neither.
    """

    _registry: ChannelRegistry
    _upload: Upload | None
    _body: Channel
    _response: Channel
    _reader: Reader = attrs.field(init=False)
    answer: StreamedAnswer = attrs.field(init=False)

    @classmethod
    def mint(cls, registry: ChannelRegistry, body: Body) -> "RequestChannels":
        """Make them. Raises Overloaded."""
        channels = cls(registry, body.upload, registry.mint(), registry.mint())
        channels._body.feed(body.source)
        return channels

    def __attrs_post_init__(self) -> None:
        self._registry.hold(self._response)  # the answer may outlast the call
        self._reader = self._response.open_reader(self._look)
        self.answer = StreamedAnswer(self._reader)

    def _look(self) -> None:
        self.answer.look()

    def interrupt_with(self, interrupt: Callable[[], object]) -> None:
        """Have this called when `respond` has something to say before the function has returned."""
        self.answer.interrupt = interrupt
        if self._upload is not None:
            self._upload.interrupt = interrupt

    @property
    def refs(self) -> bytes:
        """The two members of the request object, as JSON text."""
        return b',"request_body":%b,"response":%b' % (self._body.ref_text("read"), self._response.ref_text("write"))

    def respond(self) -> Response:
        """The answer as it is streamed. From now on neither channel can be opened; ends that are open go on (9.4).

        Raises BodyLimitError if the request's body turned out to be too large.
        """
        if self._upload is not None:
            self._upload.check()
        answer = self.answer
        self._registry.forget(self._body)
        self._registry.forget(self._response)
        fields = list(answer.headers.items())
        if answer.is_empty or answer.status < 200:
            return answers.streamed_response(answer.status, fields)
        return answers.streamed_response(answer.status, fields, answer.take_first(), answer.next, self.release)

    def release(self) -> None:
        """The request is over: end both, whoever is still at them. Safe to repeat (D-17)."""
        self._reader.close()
        self._body.end()
        self._response.end()
        self._registry.let_go(self._response)
