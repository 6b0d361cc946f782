"""Where the engine gets time and chance from: nothing else reads the wall clock or a random source."""

import time
from random import Random, SystemRandom
from typing import Protocol

import attrs
import trio

_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_EPOCH_OF_TESTS = 1_750_000_000.0


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


@attrs.frozen
class Ids:
    """Makes UUIDv4 texts. `SystemRandom` in production (worker ids and tokens must not be guessed), seeded in tests."""

    random: Random = attrs.field(factory=SystemRandom)

    def new(self) -> str:
        """A fresh lower-case hyphenated UUIDv4."""
        digits = f"{self.random.getrandbits(128):032x}"
        variant = _VARIANTS[digits[16]]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
