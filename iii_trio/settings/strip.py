"""Takes `config` blocks out of the text of a configuration file, every other byte of which stays (config-cli-modules 4.4).

Imported only when there is something to take out: ruamel costs start-up time.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from ruamel.yaml.events import (
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from iii_trio.protocol.errors import ConfigError

from .document import MAX_DEPTH, DocumentError, read_events
from .expand import masked
from .source import KeyPath, key_text

_BOM: Final = "\ufeff"
_REST: Final = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?=[\r\n]|\Z)")
_COMMA: Final = re.compile(r"[ \t]*,[ \t]*")
_BREAK: Final = re.compile(r"\r?\n|\r")


@attrs.frozen
class Block:
    """The `config` of one entry.

    Args:
      key: of the entry in the file, as `workers[3]`.
      written: what the entry calls its module.
      config: what the block said when the file was read.
      comment: what is to stand in its place, without `#`: one line that holds neither `${` nor `}`, which mean something
        in comments, too.
    """

    key: str
    written: str
    config: Mapping[str, Any]
    comment: str


@attrs.frozen
class Stripped:
    """The text without the blocks that were taken out, and why others were left in."""

    text: str
    taken: tuple[Block, ...] = ()
    fixed: tuple[Block, ...] = ()
    """Those of the taken ones that held placeholders: what was put in for these is all that is left of them."""

    left: tuple[tuple[Block, str], ...] = ()


class _NotPossible(Exception):
    """Why a block stays in."""


def strip_blocks(text: str, blocks: Sequence[Block], parse: Callable[[str], Mapping[str, Any]]) -> Stripped:
    """Put a comment in the place of each block.

    A block is left in where the rest of the file would then mean something else (what it names with `&` is used elsewhere,
    say), where it is not written in the entry itself, or no longer says the same.

    Args:
      text: of the file.
      blocks: what to take out.
      parse: makes the values of a text, variables put in; raises ConfigError.

    Raises ConfigError if the text is no configuration.
    """
    bom = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    taken: list[Block] = []
    fixed: list[Block] = []
    left: list[tuple[Block, str]] = []
    for block in blocks:
        try:
            shorter, gone = _without(text, block, parse)
        except _NotPossible as error:
            left.append((block, str(error)))
            continue
        text = shorter
        taken.append(block)
        if masked(gone) != gone:
            fixed.append(block)
    return Stripped(bom + text, tuple(taken), tuple(fixed), tuple(left))


def _without(text: str, block: Block, parse: Callable[[str], Mapping[str, Any]]) -> tuple[str, str]:
    """The text without a block, and the text of the block. Raises _NotPossible, ConfigError."""
    values = parse(text)
    entry = _entry(values, block.key)
    if block.written not in {entry.get("name"), entry.get("class")} or entry.get("config") != block.config:
        raise _NotPossible("the file has changed since it was read")
    if _is_json(text):
        raise _NotPossible("JSON has no comments, so nothing could say where the values are")
    span = _spans(text).get(block.key)
    if span is None:
        raise _NotPossible("it is not written in its entry, but comes from elsewhere in the file")
    shorter = span.cut(text, f"# {block.comment}")
    try:
        same = parse(shorter) == _less(values, block.key)
    except ConfigError:
        same = False
    if not same:
        raise _NotPossible("without it the rest of the file would mean something else")
    return shorter, text[span.start : span.end]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# --- values -----------------------------------------------------------------------------------------------------------


def _entry(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The entry of that key; without members if there is none."""
    for name, listed in values.items():
        for index, item in enumerate(listed if isinstance(listed, list) else ()):
            if key_text((name, index)) == key and isinstance(item, Mapping):
                return item
    return {}


def _less(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The values without the `config` of that entry."""
    less = copy.deepcopy(dict(values))
    entry: Any = _entry(less, key)
    del entry["config"]
    return less


# --- text -------------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Span:
    """Where a key and its value stand in a text."""

    start: int
    end: int
    in_flow: bool

    def cut(self, text: str, comment: str) -> str:
        """The text with a comment in place of this; without another one if it is there already."""
        line = _line_start(text, self.start)
        comma = _COMMA.match(text, self.end) if self.in_flow else None
        rest = _REST.match(text, comma.end() if comma else self.end)
        begins_line = not self.in_flow or not text[line : self.start].strip()
        if rest is None or not begins_line:
            return self._cut_inside(text, comment, comma)
        if comment not in text:
            return text[: self.start] + comment + text[rest.end() :]
        if text[line : self.start].strip():  # `- config: ...`, whose dash stays
            return text[: self.start] + text[rest.end() :]
        line_break = _BREAK.match(text, rest.end())
        return text[:line] + text[line_break.end() if line_break else rest.end() :]

    def _cut_inside(self, text: str, comment: str, comma: re.Match[str] | None) -> str:
        """Of a mapping in braces that shares its line: the pair and one comma go, the comment comes on a line before."""
        before = text[: self.start]
        if comma is None and before.rstrip().endswith(","):
            before = before.rstrip().removesuffix(",")
        after = text[comma.end() if comma else self.end :]
        line = _line_start(text, len(before))
        if comment in text:
            return before + after
        indent = before[line : len(before) - len(before[line:].lstrip(" "))]
        line_break = _BREAK.search(text)
        return f"{before[:line]}{indent}{comment}{line_break[0] if line_break else chr(10)}{before[line:]}{after}"


def _line_start(text: str, index: int) -> int:
    return max(text.rfind(mark, 0, index) for mark in "\r\n") + 1


def _spans(text: str) -> dict[str, _Span]:
    """Where the `config` of each entry stands, by the key of the entry."""
    finder = _Finder(text)
    try:
        finder.find()
    except DocumentError:  # with letters in the place of placeholders it is not YAML: they hold more than values
        return {}
    return finder.found


class _Finder:
    """Walks through a document. Placeholders are letters to it: what they come to may have another length."""

    def __init__(self, text: str) -> None:
        self.found: dict[str, _Span] = {}
        self._text = masked(text)
        self._events = read_events(self._text)
        self._end = 0  # of what has been passed, blanks and comments behind it not counted

    def find(self) -> None:
        for event in self._events:
            if isinstance(event, MappingStartEvent):
                self._map(event, ())

    def _node(self, event: Event, path: KeyPath, sign: str) -> None:
        """Pass one value, which follows a sign."""
        if len(path) > MAX_DEPTH:
            raise DocumentError("nested too deep", None)
        if isinstance(event, MappingStartEvent):
            self._map(event, path)
        elif isinstance(event, SequenceStartEvent):
            self._list(event, path)
        elif event.start_mark.index < event.end_mark.index:
            self._pass(event)
        else:
            self._pass_nothing(sign)

    def _map(self, start: MappingStartEvent, path: KeyPath) -> None:
        while not isinstance(key := next(self._events), MappingEndEvent):
            name = key.value if isinstance(key, ScalarEvent) else ""
            self._node(key, (*path, name), r"\?")
            self._node(next(self._events), (*path, name), ":")
            if name == "config" and len(path) == 2:
                self.found[key_text(path)] = _Span(key.start_mark.index, self._end, bool(start.flow_style))
        if start.flow_style:
            self._pass(key)

    def _list(self, start: SequenceStartEvent, path: KeyPath) -> None:
        index = 0
        while not isinstance(item := next(self._events), SequenceEndEvent):
            self._node(item, (*path, index), "-")
            index += 1
        if start.flow_style:
            self._pass(item)

    def _pass(self, event: Event) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        self._end = start + len(self._text[start:end].rstrip())  # to a `|` text belong the empty lines behind it

    def _pass_nothing(self, sign: str) -> None:
        """A value that is not written down: the parser marks it anywhere up to the next one."""
        found = re.compile(rf"(?:\s|#[^\r\n]*)*{sign}").match(self._text, self._end)
        if found:
            self._end = found.end()
