"""Every item of the http checklist is cited by a test (`# http 31`), and by one that looks from outside."""

import re
from pathlib import Path
from types import MappingProxyType

TESTS = Path(__file__).parents[1]
OUTSIDE = ("wire", "chaos", "conformance")
"""Folders whose tests talk to an engine by socket, command line or public API."""

ITEMS = range(1, 105)
PENDING = MappingProxyType({89: "spans come with observability"})
"""Items whose tests are elsewhere still."""

CITATION = re.compile(r"# http (\d+(?:, (?:http )?\d+)*)")


def cited(folders: tuple[str, ...]) -> set[int]:
    files = [file for folder in folders for file in (TESTS / folder).rglob("*.py")]
    found = [match[1] for file in files for match in CITATION.finditer(file.read_text(encoding="utf-8"))]
    return {int(number) for numbers in found for number in re.findall(r"\d+", numbers)}


def test_every_item_is_proven_from_outside() -> None:
    assert sorted(set(ITEMS) - cited(OUTSIDE) - PENDING.keys()) == []


def test_no_item_is_pending_that_is_proven() -> None:
    assert sorted(PENDING.keys() & cited(OUTSIDE)) == []


def test_no_citation_names_an_item_that_there_is_not() -> None:
    assert sorted(cited((*OUTSIDE, "unit", "property")) - set(ITEMS)) == []
