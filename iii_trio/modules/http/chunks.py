"""A chunked body, taken apart (RFC 9112, 7.1): sans I/O, and stricter than the RFC asks for."""

import re
from typing import Final

import attrs

from iii_trio.protocol.errors import IIIError

from .head import TRAILERS

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*+(?:;[^\x00-\x08\x0a-\x1f\x7f]*+)?\r\n")
_LONGEST_LINE: Final = 4096
_LONGEST_TRAILER: Final = 8192


class BrokenBody(IIIError):
    """The bytes of a body are not in its framing: where the next request begins cannot be known any more."""


@attrs.define(eq=False)
class ChunkReader:
    """Takes the framing off. Feed it with everything since the last rest; `is_done` once the trailers are through.

    Extensions and trailers are dropped. A size has at most 16 digits, its line 4 KiB, the trailers 8 KiB and 100 fields.
    """

    is_done: bool = False
    _left: int = 0
    """Bytes that the current chunk still has; with its line end 2 more."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The body's bytes in `data`, and what is not used: an unfinished line, or what follows the body. Raises BrokenBody."""
        pieces: list[bytes] = []
        at = 0
        while not self.is_done:
            if self._left > 2:
                piece = data[at : at + self._left - 2]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            used = self._end_chunk(data, at) if self._left else self._begin_chunk(data, at)
            if not used:
                break
            at += used
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), data[at:]

    def _end_chunk(self, data: bytes, at: int) -> int:
        """Take the line end behind a chunk; 0 if it is not there yet."""
        if self._left > 2:
            return 0
        if data[at : at + 2] != b"\r\n"[: len(data) - at]:
            raise BrokenBody("a chunk is longer than its size")
        if len(data) - at < 2:
            return 0
        self._left = 0
        return 2

    def _begin_chunk(self, data: bytes, at: int) -> int:
        """Take a line with a size, of the last chunk the trailers with it; 0 if they are not complete yet."""
        line = _SIZE.match(data, at)
        if line is None:
            return self._wait_for(data, at, b"\r\n", _LONGEST_LINE)
        if line.end() - at > _LONGEST_LINE:
            raise BrokenBody("a chunk's size line is too long")
        size = int(line[1], 16)
        if size:
            self._left = size + 2
            return line.end() - at
        return self._end_body(data, at, line.end())

    def _end_body(self, data: bytes, at: int, trailers: int) -> int:
        end = TRAILERS.match(data, trailers)
        if end is None:
            return self._wait_for(data, trailers, b"\r\n\r\n", _LONGEST_TRAILER)
        if end.end() - trailers > _LONGEST_TRAILER:
            raise BrokenBody("the trailers are too long")
        self.is_done = True
        return end.end() - at

    def _wait_for(self, data: bytes, at: int, end: bytes, limit: int) -> int:
        """0 while the line may still become a good one. Raises BrokenBody if it is over, or too long, already."""
        if data.find(end, at) >= 0 or len(data) - at > limit or _hopeless(data, at):
            raise BrokenBody("a chunk's size or the trailers are not what they should be")
        return 0


def _hopeless(data: bytes, at: int) -> bool:
    """Whether there is a line feed without its carriage return, or a first byte that no size begins with."""
    first_feed = data.find(b"\n", at)
    return first_feed >= 0 and (first_feed == at or data[first_feed - 1] != 0x0D)
