"""How an answer is put on the wire: its head by hand, and a framing that no handler can change (http.md 7.2, 9.4, D-14)."""

import logging
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import attrs
import trio

from .seam import Headers, Response, StreamBroken

_log = logging.getLogger("iii_trio.http")

STATUS_LINES: Final = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
_NO_BODY: Final = frozenset({204, 304})
_OWNED: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date"})
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
CRASHED: Final = Response(500, close=True)
_JOINED: Final = 16 * 1024
"""Bytes of a body up to which it is joined with its head: cheaper than a second piece."""

_WHOLE: Final = b"%bcontent-length: %d\r\n%bdate: %b\r\n\r\n%b"
_REMEMBERED: Final = 256
_LONGEST: Final = 4 * 1024


@attrs.define(eq=False)
class Dates:
    """The `date` of answers, made once per second of the clock `now` (seconds since the epoch)."""

    now: Callable[[], float]
    _second: int = -1
    _text: bytes = b""

    def current(self) -> bytes:
        """The moment as HTTP writes it."""
        second = int(self.now())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True).encode()
        return self._text


@attrs.define(eq=False)
class Moment:
    """The time as it was at the last look at the clock, for what needs it often and not exactly."""

    dates: Dates
    now: float = attrs.field(factory=trio.current_time, init=False)
    """Trio's clock."""

    date: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.date = self.dates.current()

    def look(self) -> None:
        """Look at the clocks."""
        self.now, self.date = trio.current_time(), self.dates.current()


@attrs.frozen
class Framing:
    """Where the body of an answer ends: after `length` bytes, with a last chunk, or (both None and False) with the connection.

    Without `has_body` nothing follows the head, whatever `length` says.
    """

    has_body: bool
    length: int | None
    is_chunked: bool = False

    def wrap(self, piece: bytes) -> tuple[bytes, ...]:
        """A piece of the body as it goes out; it is not empty."""
        return (b"%x\r\n" % len(piece), piece, b"\r\n") if self.is_chunked else (piece,)

    @property
    def ends_connection(self) -> bool:
        """Whether only the end of the connection tells the client that the body is complete."""
        return self.has_body and self.length is None and not self.is_chunked


def declared_length(headers: Headers) -> int | None:
    """The `content-length` that a handler gave; None if there is none, or one that is no number."""
    value = next((value for name, value in headers if name == b"content-length"), b"")
    return int(value) if _LENGTH.fullmatch(value) else None


def framing_of(response: Response, *, is_head: bool, version: str) -> Framing:
    """The framing of an answer: exact for a plain one; for a streamed one as its handler declares, else chunked (9.4)."""
    has_body = not is_head and response.status not in _NO_BODY
    if response.stream is None:
        return Framing(has_body, None if response.status == 204 else len(response.body))
    length = declared_length(response.headers) if response.status != 204 else None
    return Framing(has_body, length, is_chunked=length is None and version == "1.1" and response.status not in _NO_BODY)


def own_fields(response: Response) -> list[tuple[bytes, bytes]]:
    """The headers of an answer without those that are the server's: framing and connection."""
    return [field for field in response.headers if field[0] not in _OWNED or field[0] == b"date"]


def encode_head(response: Response, framing: Framing, date: bytes, connection: bytes) -> bytes | None:
    """The bytes of a head; `connection` is the value of that field, empty for none.

    None if a field would break out of its line: then nothing of it may be sent.
    """
    lines = [STATUS_LINES.get(response.status) or b"HTTP/1.1 %d <none>\r\n" % response.status]
    for name, value in response.headers:
        if name not in _OWNED:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif name == b"date":
            date = value
    if framing.length is not None:
        lines.append(b"content-length: %d\r\n" % framing.length)
    elif framing.is_chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if connection:
        lines.append(b"connection: %b\r\n" % connection)
    lines.append(b"date: %b\r\n\r\n" % date)
    head = b"".join(lines)
    return head if head.count(b"\n") == head.count(b"\r") == len(lines) + 1 else None


@attrs.define(eq=False)
class Answers:
    """Whole answers as bytes. What many have in common, status line and fields, is encoded once."""

    _moment: Moment
    _heads: dict[tuple[int, Headers], bytes] = attrs.field(factory=dict)

    def encode(self, status: int, headers: Headers, body: bytes, connection: bytes) -> list[bytes] | None:
        """The pieces of a whole answer to an HTTP/1.1 request that is no HEAD; `connection` as in `encode_head`.

        None if it is one that has to be encoded in the long way.
        """
        key = (status, headers)
        head = self._heads.get(key)
        if head is None:
            head = self._remember(key)
        if not head:
            return None
        size = len(body)
        if connection:
            connection = b"connection: %b\r\n" % connection
        if size > _JOINED:
            return [_WHOLE % (head, size, connection, self._moment.date, b""), body]
        return [_WHOLE % (head, size, connection, self._moment.date, body)]

    def _remember(self, key: tuple[int, Headers]) -> bytes:
        """What answers with this status and these fields begin with; empty for those that are not like others."""
        status, headers = key
        if len(self._heads) >= _REMEMBERED:
            self._heads.clear()
        lines = [STATUS_LINES.get(status, b""), *(b"%b: %b\r\n" % field for field in headers)]
        head = b"".join(lines)
        is_common = (
            status not in _NO_BODY
            and all(lines)
            and len(head) <= _LONGEST
            and _OWNED.isdisjoint(name for name, _ in headers)
            and head.count(b"\n") == head.count(b"\r") == len(lines)
        )
        if len(head) <= _LONGEST:  # else the key alone would take as much memory as a function likes
            self._heads[key] = head if is_common else b""
        return head if is_common else b""


def encode_refusal(status: int, date: bytes) -> bytes:
    """The whole answer to a head that is not taken: nothing but the status (13)."""
    return b"%bcontent-length: 0\r\nconnection: close\r\ndate: %b\r\n\r\n" % (STATUS_LINES[status], date)


async def abandon(stream: Callable[[], Awaitable[bytes]]) -> None:
    """Tell the source of a streamed body that nobody takes the rest: it is cancelled where it waits."""
    with trio.CancelScope() as scope:
        scope.cancel(reason="the client is gone")
        try:
            while await stream():
                pass
        except StreamBroken:
            return
