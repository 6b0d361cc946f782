"""The wording of what can be wrong with a value (config-cli-modules 1.4)."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

_PLAIN_NAME: Final = re.compile(r"[\w:/*.-]+", re.ASCII)


def describe(value: object) -> str:
    """What was given, for an error message: `string "x"`, ``integer `5` ``, `a list`; long texts are cut."""
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{json.dumps(value)}`"
        case int() | float():
            kind = "integer" if isinstance(value, int) else "number"
            return f"{kind} `{_cut(str(value))}`"
        case str():
            return f"string {json.dumps(_cut(value), ensure_ascii=False)}"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return f"a {type(value).__name__}"


def invalid_type(value: object, expected: str) -> str:
    """The message for a value of the wrong type; `expected` is a noun phrase."""
    return f"invalid type: {describe(value)}, expected {expected}"


def unknown_field(name: str, known: Sequence[str]) -> str:
    """The message for a key nobody reads (config-cli-modules 1.4); `known` in the order of the documentation."""
    return f"unknown field `{printable(name)}`, {expected_names(known)}"


def expected_names(names: Sequence[str]) -> str:
    """`expected one of ...` over a closed set of names."""
    quoted = [f"`{name}`" for name in names]
    match len(quoted):
        case 0:
            return "there are no fields"
        case 1:
            return f"expected {quoted[0]}"
        case 2:
            return f"expected {quoted[0]} or {quoted[1]}"
    return f"expected one of {', '.join(quoted)}"


def range_text(lowest: float | None, highest: float | None) -> str:
    """The bounds of a number, both included: `0 to 65535`, `at least 1`; not both may be missing."""
    if highest is None:
        return f"at least {lowest}"
    return f"at most {highest}" if lowest is None else f"{lowest} to {highest}"


def printable(name: str) -> str:
    """A name of the file's author, safe to stand in a line of text: control characters escaped, long ones cut."""
    return _cut(name) if _PLAIN_NAME.fullmatch(name) else json.dumps(_cut(name))[1:-1]


def _cut(text: str, longest: int = 80) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."
