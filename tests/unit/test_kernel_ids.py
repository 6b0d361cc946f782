"""Ids and keys: none is given out twice, and all that is left to chance comes from the source of chance."""

import re
import uuid
from random import Random

from iii_trio.kernel import Ids

DRAWN = 2_048


class Counting(Random):
    """Tells how many bytes were drawn."""

    drawn = 0

    def randbytes(self, n: int) -> bytes:
        self.drawn += n
        return super().randbytes(n)


def test_none_is_given_out_twice() -> None:
    ids = Ids()
    made = [make() for _ in range(1_000) for make in (ids.new, ids.key)]
    assert len(set(made)) == len({text.replace("-", "") for text in made}) == 2_000
    assert all(str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4 for text in made[::2])
    assert all(re.fullmatch("[0-9a-f]{32}", text) for text in made[1::2])


def test_no_digit_is_used_for_two() -> None:
    """A key whose digits were those of an id would be known to whoever sees the id."""
    random = Counting(1)
    ids = Ids(random)
    for _ in range(2 * DRAWN // 32):
        ids.key()
    assert random.drawn == DRAWN
    for _ in range(2 * DRAWN // 30):
        ids.new()
    assert random.drawn == 2 * DRAWN
    ids.key()
    ids.new()
    assert random.drawn == 4 * DRAWN


def test_every_digit_of_an_id_but_version_and_variant_is_left_to_chance() -> None:
    made = [Ids(Random(seed)).new().replace("-", "") for seed in range(400)]
    for at, digits in enumerate(zip(*made, strict=True)):
        assert len(set(digits)) == (1 if at in {12, 16} else 16)
