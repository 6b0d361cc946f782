"""HTTP requests from any bytes: cut anyhow they are the same, and nobody stricter sees others in them."""

from collections.abc import Iterable
from typing import Final

import attrs
import h11

from iii_trio.modules.http.chunks import BrokenBody, ChunkReader
from iii_trio.modules.http.head import CHUNKED, Head, Refused, read_head
from iii_trio.modules.http.seam import ServerLimits

from .pieces import pieces_of

LIMITS: Final = ServerLimits(header_fields=20, head_size=2000, target_size=200)
Seen = tuple[str, bytes]


@attrs.define
class Reader:
    """Reads request after request as the fast server does, without a socket. `seen` are methods and bodies, `end` why it stopped."""

    seen: list[Seen] = attrs.field(factory=list)
    end: int | None = None
    _data: bytes = b""
    _looked_at: int = 0
    _head: Head | None = None
    _body: bytes = b""
    _chunks: ChunkReader = attrs.field(factory=ChunkReader)

    def feed(self, piece: bytes) -> None:
        self._data += piece
        while self.end is None and (self._read_body() if self._head else self._read_head()):
            pass

    def _read_head(self) -> bool:
        head = read_head(self._data, 0, self._looked_at, LIMITS)
        self._looked_at = len(self._data)
        if isinstance(head, Refused):
            self.end = head.status
        if not isinstance(head, Head):
            return False
        assert head.end <= len(self._data)
        self._head, self._body, self._chunks = head, b"", ChunkReader()
        self._data, self._looked_at = self._data[head.end :], 0
        return True

    def _read_body(self) -> bool:
        assert self._head is not None
        if self._head.length == CHUNKED:
            try:
                piece, self._data = self._chunks.feed(self._data)
            except BrokenBody:
                self.end = 400
                return False
            self._body += piece
            is_over = self._chunks.is_done
        else:
            left = self._head.length - len(self._body)
            self._body, self._data = self._body + self._data[:left], self._data[left:]
            is_over = len(self._body) == self._head.length
        if is_over:
            self.seen.append((self._head.method, self._body))
            self._head = None
        return is_over


def read(pieces: Iterable[bytes]) -> Reader:
    """Read a connection that comes in pieces."""
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    return reader


def independent(stream: bytes) -> list[Seen]:
    """The requests that h11 sees, as far as it sees any."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=4000)
    connection.receive_data(stream)
    seen, method, body = list[Seen](), "", b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, body = event.method.decode(), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                seen.append((method, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return seen
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return seen


def requests(data: bytes) -> None:
    """Pieces make no difference, and where h11 sees a request at all, it sees the same one."""
    stream, pieces = pieces_of(data)
    whole, cut = read([stream]), read(pieces)
    assert whole.seen[: len(cut.seen)] == cut.seen or cut.seen[: len(whole.seen)] == whole.seen
    assert bool(whole.end) == bool(cut.end)
    assert whole.seen == cut.seen
    for ours, theirs in zip(whole.seen, independent(stream), strict=False):
        assert ours == theirs
