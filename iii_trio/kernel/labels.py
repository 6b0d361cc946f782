"""Text that peers choose, made fit for lists and for lines of the log."""

import re
from typing import Final

_HIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LABEL_LIMIT: Final = 280
_LINES_LIMIT: Final = 16_384


def clean_label(text: str | None) -> str | None:
    """A name or description fit for lists: no control characters, 280 characters at most, None if empty (wire-protocol 3.3)."""
    return (_HIDDEN.sub("", text)[:LABEL_LIMIT].strip() or None) if text else None


def shown(text: object, limit: int = LABEL_LIMIT) -> str:
    """What a peer chose, for one line of the log: control characters escaped, cut to `limit` characters and an ellipsis.

    So nobody can write a line of somebody else's, colour a terminal, or fill a disk with one id. Costs no more than
    `limit`, however long the text.
    """
    whole = text if isinstance(text, str) else str(text)
    escaped = _HIDDEN.sub(_escape, whole[: limit + 1])
    return escaped if len(escaped) <= limit else f"{escaped[:limit]}…"


def shown_lines(text: str) -> str:
    """The same for text of several lines, a stack trace say: each line indented, so that none passes for a line of the log."""
    lines = text[:_LINES_LIMIT].splitlines()
    return "\n".join(f"  {shown(line)}" for line in lines)


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
