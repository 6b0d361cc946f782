"""`${VAR:default}` inside the values of entries (config-cli-modules 7)."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from iii_trio.protocol import Json

ExpandText = Callable[[str], tuple[str, Sequence[str]]]
"""Puts the variables into a text; returns it, and what kept some out: one that is not set and has no default, say."""

Path = tuple[str | int, ...]
_WORDS: Final = {"true": True, "false": False, "null": None}
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,255})(?:\.[0-9]{1,255})?(?:[eE][-+]?[0-9]{1,3})?")


@attrs.frozen
class Expanded:
    """A value with its variables put in. Where that failed, the text stands as it was: `unset` says where, and why."""

    value: Json
    unset: tuple[tuple[Path, str], ...] = ()

    @property
    def problem(self) -> str:
        """What is wrong, in one line; empty if every variable has a value."""
        return self.unset[0][1] if self.unset else ""


def expand_value(value: Json, expand: ExpandText) -> Expanded:
    """Put the variables into every text of a value; a text that is one placeholder may become a number, boolean or null."""
    unset: list[tuple[Path, str]] = []

    def walk(part: Json, path: Path) -> Json:
        match part:
            case dict():
                return {key: walk(member, (*path, key)) for key, member in part.items()}
            case list():
                return [walk(item, (*path, number)) for number, item in enumerate(part)]
            case str() if "${" in part:
                text, problems = expand(part)
                unset.extend((path, problem) for problem in problems)
                return part if problems else _typed(text) if _is_placeholder(part) else text
        return part

    return Expanded(walk(value, ()), tuple(unset))


def _is_placeholder(text: str) -> bool:
    return text.startswith("${") and text.find("}") == len(text) - 1


def _typed(text: str) -> Json:
    if text in _WORDS:
        return _WORDS[text]
    return json.loads(text) if _NUMBER.fullmatch(text) else text
