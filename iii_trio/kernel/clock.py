"""Where the engine gets time and chance from: nothing else reads the wall clock or a random source."""

import time
from random import Random, SystemRandom
from typing import Protocol

import attrs
import trio

_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_EPOCH_OF_TESTS = 1_750_000_000.0
_DRAWN = 4_096  # digits


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

    Chance is drawn for many ids at once: from the operating system each draw costs more than the id.
    """

    random: Random = attrs.field(factory=SystemRandom)
    _digits: str = attrs.field(default="", init=False, repr=False)
    _at: int = attrs.field(default=0, init=False, repr=False)

    def digits(self, count: int) -> str:
        """So many hexadecimal digits in lower case, none of which is ever given out again. At most 4,096."""
        at, self._at = self._at, self._at + count
        if self._at > len(self._digits):
            self._digits = f"{self.random.getrandbits(4 * _DRAWN):0{_DRAWN}x}"
            at, self._at = 0, count
        return self._digits[at : self._at]

    def new(self) -> str:
        """A fresh lower-case hyphenated UUIDv4."""
        digits = self.digits(32)
        variant = _VARIANTS[digits[16]]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
