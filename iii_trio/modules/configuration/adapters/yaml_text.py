"""Writes JSON values as YAML that people like to read and to edit. Whatever YAML could mistake is in quotes."""

import json
import re
from collections.abc import Iterator
from typing import Final

from iii_trio.protocol import Json

_PLAIN: Final = re.compile(r"[A-Za-z_/][\w./@-]*(?: [\w./@-]+)*", re.ASCII)
_WORDS: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_ESCAPED: Final = str.maketrans(
    {character: f"\\u{character:04x}" for character in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
)


def dump_yaml(value: dict[str, Json]) -> str:
    """A YAML 1.2 document of a mapping, in block style and in the order of its keys."""
    return "\n".join(_lines(value, "")) + "\n"


def _lines(value: Json, indent: str) -> Iterator[str]:
    """The lines of a mapping or a list that is not empty."""
    pairs = ((f"{_text(key)}:", member) for key, member in value.items()) if isinstance(value, dict) else None
    for head, member in pairs if pairs is not None else (("-", item) for item in value):
        if isinstance(member, (dict, list)) and member:
            yield f"{indent}{head}"
            yield from _lines(member, f"{indent}  ")
        else:
            yield f"{indent}{head} {_scalar(member)}"


def _scalar(value: Json) -> str:
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable()).translate(_ESCAPED)
