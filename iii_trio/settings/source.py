"""Where in a file a value stands, so that every problem names its file, line and key path (style guide, Errors)."""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import attrs

KeyPath = tuple[str | int, ...]

_PLAIN_KEY: Final = re.compile(r"[\w:/*-]+", re.ASCII)


class Mark(NamedTuple):
    """A place in a file, both counted from 1."""

    line: int
    column: int


@attrs.frozen
class Source:
    """What a configuration was read from: its name for people, and the place of each key path (none for an object)."""

    name: str = "configuration"
    marks: Mapping[KeyPath, Mark] = MappingProxyType({})

    def mark(self, key: KeyPath) -> Mark | None:
        """The place of `key`, or of the nearest key around it that is in the file."""
        for end in range(len(key), -1, -1):
            if found := self.marks.get(key[:end]):
                return found
        return None

    def location(self, key: KeyPath) -> str:
        """`config.yaml:12`; only the name where no line is known."""
        mark = self.mark(key)
        return f"{self.name}:{mark.line}" if mark else self.name

    def problem(self, key: KeyPath, message: str) -> str:
        """One line for a person: `config.yaml:12: workers[3].config.port: message`."""
        return f"{self.location(key)}: {key_text(key)}: {message}" if key else f"{self.location(key)}: {message}"

    def lines_below(self, depth: int) -> dict[KeyPath, dict[str, int]]:
        """For each key path of `depth` steps: the line of everything in it, by the rest of its path, as `config.port`."""
        found: dict[KeyPath, dict[str, int]] = {}
        for key, mark in self.marks.items():
            if len(key) >= depth:
                found.setdefault(key[:depth], {})[key_text(key[depth:])] = mark.line
        return found


def key_text(key: KeyPath) -> str:
    """A key path as people write it: `workers[3].config.port`; names with other characters are quoted."""
    text = ""
    for step in key:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _PLAIN_KEY.fullmatch(step) else json.dumps(step))
    return text
