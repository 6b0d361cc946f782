"""Every channel of the engine by id, and what they may hold together (wire-protocol 10.1, 10.5)."""

import hmac
import math
from collections.abc import Callable
from typing import Final

import attrs
import trio

from iii_trio.protocol.errors import Overloaded

from ._emptied import Emptied
from .channels import Channel, Direction, ref_text
from .clock import Clock, Ids

DEFAULT_BUFFER: Final = 64
MAX_BUFFER: Final = 1_024


@attrs.frozen
class ChannelLimits:
    """What channels may hold. Sizes in bytes, times in seconds."""

    channels: int = 65_536
    """Channels known at once; beyond it a new one is refused with `overloaded`."""

    channel_size: int = 4 * 1024 * 1024
    """Of the items buffered in one channel; a single item of any legal size fits into an empty one."""

    total_size: int = 256 * 1024 * 1024
    """Of the items buffered in all channels; beyond it each holds one item, and one without a reader none."""

    unused: float = 300.0
    sweep: float = 60.0


@attrs.frozen
class ChannelStatistics:
    """Channels known, what is buffered in them, and how many came and went."""

    open: int
    items: int
    size: int
    created: int
    expired: int


@attrs.define(eq=False)
class Promise:
    """Ids and keys of two channels that are made when somebody comes to open one: most are never opened.

    The ids are that of the call they are made for but for their last digit, `0` and `1`; the keys have nothing in common.
    """

    stem: str
    keys: tuple[str, str]
    keep: Callable[[Channel, Channel], object]
    """Called with both once they are made."""

    def fill(self, template: str) -> bytes:
        """JSON text with references to both, by a template of `promise_template`."""
        return (template % (self.stem, self.keys[0], self.stem, self.keys[1])).encode()


def promise_template(frame: str, first: Direction, second: Direction) -> str:
    """For `Promise.fill`: what an SDK needs to open these ends of the two channels, in the places `frame` has for it (`%s`)."""
    return frame % (ref_text("%s0", "%s", first).decode(), ref_text("%s1", "%s", second).decode())


@attrs.define(eq=False, repr=False)
class ChannelRegistry:
    """Every channel of the engine by id; all listeners share it (10.1). Owned by no task but for its sweep."""

    _clock: Clock
    _ids: Ids
    limits: ChannelLimits = attrs.field(factory=ChannelLimits)
    _channels: dict[str, Channel] = attrs.field(factory=dict)  # in the order of creation
    _held: set[str] = attrs.field(factory=set, init=False)
    _all_let_go: Emptied = attrs.field(init=False)
    _promised: dict[str, Promise] = attrs.field(factory=dict)
    _items: int = 0
    _size: int = 0
    _created: int = 0
    _expired: int = 0

    def __attrs_post_init__(self) -> None:
        self._all_let_go = Emptied(self._held)

    def create(self, buffer_size: int | None = None) -> Channel:
        """A channel that expires unless both ends are opened within five minutes. Raises Overloaded.

        `buffer_size` counts items; it is brought between 1 and 1,024, 64 unless given (10.1).
        """
        size = DEFAULT_BUFFER if buffer_size is None else min(max(buffer_size, 1), MAX_BUFFER)
        return self._add(size, self._clock.monotonic() + self.limits.unused)

    def mint(self) -> Channel:
        """A channel that lives until `forget` or `Channel.end`, for whoever knows when that is. Raises Overloaded."""
        return self._add(DEFAULT_BUFFER, math.inf)

    def promise(self, call_id: str, keep: Callable[[Channel, Channel], object]) -> Promise:
        """Two channels as `mint` makes them, but not before one of them is to be opened; until then `withdraw` ends them.

        Each call of this id (a UUID) has but one promise. Raises Overloaded.
        """
        self._check_room(2)
        ids, stem = self._ids, call_id[:-1]
        self._promised[stem] = promise = Promise(stem, (ids.key(), ids.key()), keep)
        self._created += 2
        return promise

    def withdraw(self, promise: Promise) -> None:
        """Let nobody open what was promised. Without effect once it was kept."""
        self._promised.pop(promise.stem, None)

    def _add(self, buffer_size: int, expires_at: float) -> Channel:
        self._check_room(1)
        channel = Channel(self._ids.new(), self._ids.new(), buffer_size, expires_at, self)
        self._channels[channel.id] = channel
        self._created += 1
        return channel

    def _check_room(self, wanted: int) -> None:
        if (known := self._known()) + wanted > self.limits.channels:
            raise Overloaded(f"there are {known} channels; use those that exist, or wait until some expire")

    def _known(self) -> int:
        return len(self._channels) + 2 * len(self._promised)

    def find(self, channel_id: str, key: str) -> Channel | None:
        """The channel of this id, if the key fits; the comparison takes the same time for every wrong key."""
        channel = self._channels.get(channel_id)
        promise = self._promised.get(channel_id[:-1]) if channel is None and channel_id[-1:] in {"0", "1"} else None
        right = channel.key if channel is not None else promise.keys[int(channel_id[-1])] if promise is not None else ""
        if not hmac.compare_digest(right.encode(), key.encode("utf-8", "surrogateescape")):
            return None
        if promise is not None:
            self._keep(promise)
        return self._channels.get(channel_id)

    def _keep(self, promise: Promise) -> None:
        self.withdraw(promise)
        first, second = (
            Channel(f"{promise.stem}{number}", key, DEFAULT_BUFFER, math.inf, self)
            for number, key in enumerate(promise.keys)
        )
        self._channels[first.id], self._channels[second.id] = first, second
        promise.keep(first, second)

    def forget(self, channel: Channel) -> None:
        """Let nobody open an end from now on; those that are open go on. Safe to repeat."""
        self._channels.pop(channel.id, None)

    async def sweep(self) -> None:
        """Every minute end the channels that were not used in time; run until cancelled (10.5)."""
        while True:
            await trio.sleep(self.limits.sweep)
            now = self._clock.monotonic()
            for channel in [one for one in self._channels.values() if one.expires_at <= now and not one.is_used]:
                self._expired += 1
                channel.end()

    def count(self, items: int, size: int) -> None:
        """Note that channels hold so many items and bytes more."""
        self._items += items
        self._size += size

    @property
    def is_crowded(self) -> bool:
        """Whether channels hold as many bytes as they may together."""
        return self._size >= self.limits.total_size

    def hold(self, channel: Channel) -> None:
        """Have the engine's stop wait for this channel, within its budget: until `let_go`."""
        self._held.add(channel.id)

    def let_go(self, channel: Channel) -> None:
        """Undo `hold`. Safe to repeat."""
        self._held.discard(channel.id)
        self._all_let_go.note()

    async def wait_let_go(self) -> None:
        """Wait until no channel is held."""
        await self._all_let_go.wait()

    def statistics(self) -> ChannelStatistics:
        """Counts, for monitoring and leak tests."""
        return ChannelStatistics(self._known(), self._items, self._size, self._created, self._expired)
