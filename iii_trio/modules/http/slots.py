"""How many requests are answered at once (http.md 8)."""

import attrs
import trio


@attrs.define(eq=False)
class Slots:
    """So many at once; who comes then waits, in the order of arrival.

    A `trio.Semaphore` for the two steps that every request makes: they are 25 instructions instead of 75.

    Args:
      free: slots that nobody has. While there are some, nobody waits.
    """

    free: int
    _waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def take_nowait(self) -> bool:
        """Take a slot if one is free."""
        if not self.free:
            return False
        self.free -= 1
        return True

    async def take(self) -> None:
        """Wait for a slot and take it. Cancelled: none was taken."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.take_nowait():
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self._waiting.park()

    def give_back(self) -> None:
        """Leave a slot to whoever has waited longest, or to the next."""
        if self.free or not self._waiting:
            self.free += 1
        else:
            self._waiting.unpark()
