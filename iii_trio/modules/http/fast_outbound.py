"""The sending half of a connection: at once where the socket takes it, else within deadlines."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from iii_trio.protocol import Buffer
from iii_trio.sockets import ByteStream, without_first

_PIECE: Final = 64 * 1024
_BURST: Final = 50e-6
"""Seconds after an answer within which the next one is taken for one of many."""

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


@attrs.define(eq=False)
class Departures:
    """Answers that come at about the same time are sent one right after the other, in a turn of the scheduler of their own.

    Between two answers their functions run, long enough for the client to fall asleep: then each of them has to wake it,
    which costs more than all the rest of sending. One that comes alone goes out at once.
    """

    _waiting: list[Callable[[], object]] = attrs.field(factory=list)
    _last: float = -math.inf
    _filled: trio.Event = attrs.field(factory=trio.Event)

    def send_soon(self, send: Callable[[], object]) -> None:
        """Have `send` called, now or soon. It must not wait."""
        now = trio.current_time()
        if self._waiting:
            self._waiting.append(send)
        elif now - self._last < _BURST:
            self._waiting.append(send)
            self._filled.set()
        else:
            send()
            now = trio.current_time()
        self._last = now

    async def run(self) -> None:
        """Send what waits; until cancelled."""
        while True:
            await self._filled.wait()
            self._filled = trio.Event()
            waiting, self._waiting = self._waiting, []
            for send in waiting:
                send()
