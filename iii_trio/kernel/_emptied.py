"""Waiting until a collection is empty."""

from collections.abc import Sized

import attrs
import trio


@attrs.define(eq=False)
class Emptied:
    """Lets tasks wait until a collection has nothing in it. Who takes the last out calls `note` if `event` is there."""

    _items: Sized
    event: trio.Event | None = attrs.field(default=None, init=False)
    """There while somebody waits."""

    async def wait(self) -> None:
        """Wait until the collection is empty. Cancellation has no effect on it."""
        while self._items:
            if self.event is None:
                self.event = trio.Event()
            await self.event.wait()
        await trio.lowlevel.checkpoint()

    def note(self) -> None:
        """Let those who wait look, if there is nothing in the collection any more."""
        if self.event is not None and not self._items:
            self.event.set()
            self.event = None
