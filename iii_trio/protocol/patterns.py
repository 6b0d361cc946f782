"""Patterns of access control: `*` stands for any run of characters, nothing else is special (wire-protocol 11.5)."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

_MATCH: Final = re.compile(r"match\((?:\"([^\"]*)\"|'([^']*)')\)", re.DOTALL)


def match_argument(text: str) -> str | None:
    """The pattern inside `match("...")` or `match('...')`; None if the text is not written so."""
    found = _MATCH.fullmatch(text)
    return None if found is None else found[1] if found[1] is not None else found[2]


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A test for texts that the pattern covers from end to end.

    Its time is at most the product of both lengths, whatever the pattern: nothing is ever tried twice.
    """
    first, *others = pattern.split("*")
    if not others:
        return partial(str.__eq__, pattern)
    *middle, last = others
    return partial(_covers, first, [part for part in middle if part], last)


def _covers(first: str, middle: list[str], last: str, text: str) -> bool:
    end = len(text) - len(last)
    at = len(first)
    if end < at or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
