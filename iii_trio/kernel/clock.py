"""Where the engine gets time and chance from: nothing else reads the wall clock or a random source."""

import re
import time
from random import Random, SystemRandom
from typing import Protocol

import attrs
import trio

_EPOCH_OF_TESTS = 1_750_000_000.0
_DRAWN = 2_048  # bytes
_KEY = re.compile(".{32}")
_UUID = "{}-{}-4{}-8{}-{}".format
_PARTS = re.compile("(.{8})(.{4})(.{3})(.{3})(.{12})")
"""The digits of a UUID that are left to chance."""


class Clock(Protocol):
    """Wall time for people and durations for machines, both in seconds."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment, never going back."""
        ...


@attrs.frozen
class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return trio.current_time()


@attrs.frozen
class TrioClock:
    """Wall time derived from Trio's clock, so that a MockClock moves it: for deterministic tests."""

    start: float = _EPOCH_OF_TESTS

    def now(self) -> float:
        return self.start + trio.current_time()

    def monotonic(self) -> float:
        return trio.current_time()


@attrs.define(eq=False)
class Ids:
    """Makes UUIDv4 texts. `SystemRandom` in production (worker ids and tokens must not be guessed), seeded in tests.

    Chance is drawn for many ids at once: from the operating system each draw costs more than the id. So are they made.
    """

    random: Random = attrs.field(factory=SystemRandom)
    _uuids: list[str] = attrs.field(factory=list, init=False, repr=False)
    _keys: list[str] = attrs.field(factory=list, init=False, repr=False)

    def new(self) -> str:
        """A fresh lower-case hyphenated UUIDv4."""
        if not self._uuids:
            self._uuids = [_UUID(*parts) for parts in _PARTS.findall(self._draw())]
        return self._uuids.pop()

    def key(self) -> str:
        """A fresh secret of 32 hexadecimal digits in lower case."""
        if not self._keys:
            self._keys = _KEY.findall(self._draw())
        return self._keys.pop()

    def _draw(self) -> str:
        return self.random.randbytes(_DRAWN).hex()
