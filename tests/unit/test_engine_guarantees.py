"""The guarantees of the engine name tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"))


def test_guarantees_name_their_tests() -> None:
    assert NAMED


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_guarantee_has_its_test(path: str, name: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async def {name}\(|def {name}\(|{name} = )", text, re.MULTILINE)
