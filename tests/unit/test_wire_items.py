"""Every item of the protocol's checklist is cited by a test (`# wire 31`), and by one that looks from outside."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
OUTSIDE = ("wire", "chaos", "conformance")
"""Folders whose tests talk to an engine by socket, command line or public API."""

ITEMS = range(1, 115)
LATER = {40: "the queue module is not part of this release; what the engine does for it is cited"}
FROM_INSIDE = {85: "a start that is refused before there is a socket"}
CITATION = re.compile(r"# wire (\d+(?:, (?:wire )?\d+)*)")


def cited(folders: tuple[str, ...]) -> set[int]:
    files = [file for folder in folders for file in (TESTS / folder).rglob("*.py")]
    found = [match[1] for file in files for match in CITATION.finditer(file.read_text(encoding="utf-8"))]
    return {int(number) for numbers in found for number in re.findall(r"\d+", numbers)}


def test_every_item_is_cited() -> None:
    everywhere = tuple(folder.name for folder in TESTS.iterdir() if folder.is_dir())
    assert sorted(set(ITEMS) - cited(everywhere) - LATER.keys()) == []


def test_every_item_is_proven_from_outside() -> None:
    assert sorted(set(ITEMS) - cited(OUTSIDE) - LATER.keys() - FROM_INSIDE.keys()) == []


def test_no_citation_names_an_item_that_there_is_not() -> None:
    assert sorted(cited((*OUTSIDE, "unit", "property")) - set(ITEMS)) == []
