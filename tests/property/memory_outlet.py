"""An outlet of a worker that is not there."""

from collections.abc import Sequence

import attrs
import trio

from iii_trio.protocol import Buffer


@attrs.define
class Outlet:
    """Keeps what would go to a socket, which takes messages up to a size."""

    most: int = 1 << 30
    sent: list[bytes] = attrs.field(factory=list)
    is_full: bool = False

    def send(self, pieces: Sequence[Buffer], size: int) -> None:
        text = b"".join(pieces)
        assert len(text) == size
        self.sent.append(text)

    def has_room(self, size: int) -> bool:
        return size <= self.most

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()
