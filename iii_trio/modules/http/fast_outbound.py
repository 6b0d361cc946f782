"""The sending half of a connection: at once where the socket takes it, else within deadlines."""

import math
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from iii_trio.protocol import Buffer
from iii_trio.sockets import ByteStream, without_first

_PIECE: Final = 64 * 1024
Pieces = Sequence[Buffer]


@attrs.define(eq=False)
class Outbound:
    """Sends answers. One task at a time.

    Each 64 KiB have `patience` seconds to be taken: a client that reads slower is given up. What has begun is
    finished even if the task is cancelled meanwhile, until `last_words` (Trio's clock) at the latest.
    """

    _stream: ByteStream
    _patience: float
    _last_words: float = math.inf
    _scope: trio.CancelScope | None = None

    async def send(self, pieces: Pieces, size: int) -> None:
        """Send `size` bytes; waits only while the socket takes no more. Raises one of `BROKEN`, also when patience ends."""
        sent = self._stream.send_nowait(pieces, size)
        if sent != size:
            await self._send_slowly(without_first(pieces, sent), size - sent)

    async def _send_slowly(self, pieces: Pieces, size: int) -> None:
        while size:
            before = size
            with self._deadline() as self._scope:
                while size and before - size < _PIECE:
                    sent = await self._stream.send_some(pieces, size)
                    pieces, size = without_first(pieces, sent), size - sent
            if self._scope.cancelled_caught:
                raise trio.BrokenResourceError("the client takes no answer")
        self._scope = None

    def _deadline(self) -> trio.CancelScope:
        deadline = min(trio.current_time() + self._patience, self._last_words)
        return trio.CancelScope(deadline=deadline, shield=True)

    def limit_last_words(self, deadline: float) -> None:
        """Cut at `deadline` what is being sent."""
        self._last_words = deadline
        if self._scope is not None:
            self._scope.deadline = min(self._scope.deadline, deadline)
