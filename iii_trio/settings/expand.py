"""`${NAME:default}` in the raw text of a configuration file, before YAML sees it (config-cli-modules 1.2)."""

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

import attrs

_PLACEHOLDER: Final = re.compile(r"\$\{([^}:]+)(?::([^}]*))?\}")
_IN_A_LINE: Final = re.compile(r"[^\r\n]")
_ENGINE_VERSION: Final = "__III_ENGINE_VERSION__"


class ExpansionTooLargeError(ValueError):
    """The values put in make the text longer than the limit."""


@attrs.frozen
class Expansion:
    """What a text became, and what is needed to speak of its lines as the author wrote them.

    `missing` holds (variable, line in the source) for each variable that is not set and has no default.
    """

    text: str
    missing: tuple[tuple[str, int], ...] = ()
    _shifts: tuple[tuple[int, int], ...] = ()  # after this line of the result, the source is so many lines ahead

    def source_line(self, line: int) -> int:
        """The line of the source (counted from 1) from which `line` of the result comes."""
        passed = bisect_left(self._shifts, line, key=lambda shift: shift[0])
        return line + (self._shifts[passed - 1][1] if passed else 0)


def expand(text: str, env: Mapping[str, str], engine_version: str, *, limit: int) -> Expansion:
    """Replace every `${NAME}` and `${NAME:default}` of `text`, in one pass, in comments and quotes too.

    A variable that is set wins, also with an empty value; what is put in is not expanded again. `limit` is the longest
    result in characters, because a short file can name a long variable often.

    Raises:
      ExpansionTooLargeError: the result would be longer than `limit`.

    """
    pieces: list[str] = []
    missing: dict[str, int] = {}
    lines = _Lines()
    position = length = 0
    # Without the last `}` as end, each unclosed `${` would search the rest of the file again.
    for match in _PLACEHOLDER.finditer(text, 0, text.rfind("}") + 1):
        before = text[position : match.start()]
        position = match.end()
        lines.copy(before)
        value = _value(match, env, engine_version)
        if value is None:
            missing.setdefault(match[1], lines.source)
            value = ""
        lines.replace(match[0], value)
        pieces += (before, value)
        length += len(before) + len(value)
        if length > limit:
            raise ExpansionTooLargeError(f"more than {limit} characters once the variables are put in")
    pieces.append(text[position:])
    return Expansion("".join(pieces), tuple(missing.items()), tuple(lines.shifts))


def masked(text: str) -> str:
    """The text with as many letters in the place of every placeholder, so that all else stands where it did."""
    end = text.rfind("}") + 1
    return _PLACEHOLDER.sub(lambda found: _IN_A_LINE.sub("x", found[0]), text[:end]) + text[end:]


@attrs.define
class _Lines:
    """Where in the source the end of the result stands, while a text is being expanded."""

    result: int = 1
    behind: int = 0
    shifts: list[tuple[int, int]] = attrs.field(factory=list)

    @property
    def source(self) -> int:
        return self.result + self.behind

    def copy(self, text: str) -> None:
        self.result += text.count("\n")

    def replace(self, placeholder: str, value: str) -> None:
        for _ in range(value.count("\n")):
            self._shift(-1)
            self.result += 1
        if swallowed := placeholder.count("\n"):
            self._shift(swallowed)

    def _shift(self, by: int) -> None:
        self.behind += by
        self.shifts.append((self.result, self.behind))


def _value(match: re.Match[str], env: Mapping[str, str], engine_version: str) -> str | None:
    name, default = match[1], match[2]
    if name in env:
        return env[name]
    return engine_version if default == _ENGINE_VERSION else default
