"""The values of plain YAML scalars: the core schema of YAML 1.2 and nothing else, so no dates, no `yes`, no octal `010`."""

import math
import re
from typing import Final

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {text: word == "true" for word in ("true", "false") for text in (word, word.title(), word.upper())}
_DECIMAL: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN: Final = frozenset({".nan", ".NaN", ".NAN"})
_NUMBER_CHARACTERS: Final = 256  # no setting needs more, and converting digits costs their square


def plain_scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means (YAML 1.2.2, 10.3.2).

    Raises:
      ValueError: a number of unreasonable length.

    """
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] in "+-.0123456789":
        return _number(text)
    return text


def _number(text: str) -> str | int | float:
    if text in _NAN:
        return math.nan
    if infinite := _INFINITE.fullmatch(text):
        return -math.inf if infinite[1] == "-" else math.inf
    for pattern, base in ((_DECIMAL, 10), (_OCTAL, 8), (_HEX, 16)):
        if pattern.fullmatch(text):
            return int(_bounded(text), base)
    return float(_bounded(text)) if _FLOAT.fullmatch(text) else text


def _bounded(digits: str) -> str:
    if len(digits) > _NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(digits)} characters")
    return digits
