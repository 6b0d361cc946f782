"""A request's body as its handler receives it: piece by piece, read from the socket when it is asked for."""

from collections.abc import Awaitable, Callable

import attrs

from iii_trio.sockets import BROKEN

from .chunks import BrokenBody, ChunkReader
from .fast_inbound import Inbound
from .head import CHUNKED, Head


async def no_body() -> bytes:
    """The body of a request that has none."""
    return b""


@attrs.define(eq=False)
class Body:
    """What is left of one request's body.

    Args:
      inbound: where its bytes come from.
      left: bytes that it still has; `CHUNKED` while its end is not seen.
      invite: sends `100 Continue` before the first read, where the client waits for it.
      lost: called when the client leaves, or breaks the framing (then with True), before the end.
    """

    _inbound: Inbound
    _left: int
    _invite: Callable[[], Awaitable[None]] | None
    _lost: Callable[[bool], Awaitable[None]]
    _chunks: ChunkReader | None = None

    @classmethod
    def of(
        cls,
        head: Head,
        inbound: Inbound,
        invite: Callable[[], Awaitable[None]],
        lost: Callable[[bool], Awaitable[None]],
    ) -> "Body":
        """The body that a head announces."""
        chunks = ChunkReader() if head.length == CHUNKED else None
        return cls(inbound, head.length, invite if head.expects_continue else None, lost, chunks)

    @property
    def is_over(self) -> bool:
        """Whether everything has been received."""
        return self._left == 0

    @property
    def is_awaited(self) -> bool:
        """Whether the client still waits for `100 Continue`."""
        return self._invite is not None and self._left != 0

    async def receive(self) -> bytes:
        """The next piece, empty at the end. Waits only if none is there."""
        if self._left == 0:
            return b""
        try:
            if self._invite is not None:
                invite, self._invite = self._invite, None
                await invite()
            return await (self._receive_counted() if self._chunks is None else self._receive_chunked(self._chunks))
        except BROKEN:
            await self._lost(False)
            return b""

    async def _receive_counted(self) -> bytes:
        if self._inbound.is_empty and not await self._inbound.more():
            await self._lost(False)
            return b""
        piece = self._inbound.take(self._left)
        self._left -= len(piece)
        return piece

    async def _receive_chunked(self, chunks: ChunkReader) -> bytes:
        inbound = self._inbound
        while True:
            try:
                piece, rest = chunks.feed(bytes(inbound.data[inbound.at :]))
            except BrokenBody:
                await self._lost(True)
                return b""
            inbound.use(len(inbound.data) - len(rest))
            if chunks.is_done:
                self._left = 0
            if piece or chunks.is_done:
                return piece
            if not await inbound.more():
                await self._lost(False)
                return b""
