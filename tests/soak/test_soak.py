"""The soak finds what is left behind; a short one of every scenario."""

from random import Random

import attrs
import pytest

from . import __main__ as program
from . import place as places
from .__main__ import Grown, judge, soak
from .place import Place
from .scenarios import SCENARIOS, channels, http, mix
from .watch import ALLOWED, MIB, Sample, growth, residue

AT_REST = Sample(50 * MIB, 9, 17, 0, 0, 13, 0, 2, 0, 1000, 0)


def with_memory(*mib: float) -> list[Sample]:
    return [attrs.evolve(AT_REST, memory=round(one * MIB)) for one in mib]


def test_memory_is_judged_by_the_last_quarter_against_the_second() -> None:
    assert growth(with_memory(10, 20, 30)) == 0  # too few to say
    assert growth(with_memory(10, 50, 90, 53)) == 3 * MIB
    assert growth(with_memory(10, 10, 50, 52, 90, 90, 54, 56)) == 4 * MIB
    judge(with_memory(10, 50, 50, 50 + ALLOWED / MIB))
    with pytest.raises(Grown, match=r"grown by 9\.0 MiB in the last half of 4 rounds"):
        judge(with_memory(10, 50, 50, 59))


def test_everything_else_must_be_as_before() -> None:
    later = attrs.evolve(AT_REST, memory=60 * MIB, calls=2000)
    assert residue(AT_REST, later) == []
    assert residue(AT_REST, attrs.evolve(later, tasks=18, names=1)) == [
        "tasks: 18 instead of 17",
        "names: 1 instead of 0",
    ]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_round_leaves_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mix, "CALLS", 30)
    monkeypatch.setattr(mix, "LIVES", 2)
    monkeypatch.setattr(channels, "SIZE", 32 * MIB)
    monkeypatch.setattr(channels, "BROKEN_OFF", 5)
    monkeypatch.setattr(http, "SIZE", 32 * MIB)
    monkeypatch.setattr(http, "BROKEN_OFF", 6)
    (sample,) = await soak([name], 0.0, seed=1, fewest=1)
    assert sample.calls > 0


async def test_what_a_round_leaves_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection nobody closed, until its garbage is collected: held here."""
    held = []

    async def leak(place: Place, _: Random) -> None:
        held.append(await place.connect())

    monkeypatch.setattr(places, "_PATIENCE", 0.2)
    monkeypatch.setattr(program, "SCENARIOS", {"leak": leak})
    with pytest.raises(Grown, match="round 1, leak has left something behind: descriptors: "):
        await soak(["leak"], 0.0, seed=1)
    await held[0].aclose()
