"""YAML text to plain values with the place of each, within bounds that hostile input cannot pass.

Imported only when there is a file to read: ruamel costs start-up time.
"""

from collections.abc import Iterator
from typing import Any, Final, NoReturn

import attrs
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from ._scalars import plain_scalar
from .messages import invalid_type
from .source import KeyPath, Mark

MAX_VALUES: Final = 100_000  # keys and values, aliases counted as often as they are used
MAX_DEPTH: Final = 64

_STRING_TAGS: Final = frozenset({"!", "tag:yaml.org,2002:str"})
_COLLECTION_TAGS: Final = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


class DocumentError(ValueError):
    """The text is not a document of this engine; `line` and `column` count from 1."""

    def __init__(self, message: str, mark: Mark | None) -> None:
        super().__init__(message)
        self.mark = mark


@attrs.frozen
class Document:
    """The values of a file and where each key path stands in it."""

    values: dict[str, Any]
    marks: dict[KeyPath, Mark]


@attrs.frozen
class _Scalar:
    mark: Mark
    text: str
    value: str | int | float | bool | None
    merges: bool  # an unquoted `<<`


@attrs.frozen
class _List:
    mark: Mark
    items: list["_Node"]


@attrs.frozen
class _Map:
    mark: Mark
    members: dict[str, tuple[_Scalar, "_Node"]]
    merged: list["_Map"]


_Node = _Scalar | _List | _Map


def parse_document(text: str) -> Document:
    """Read one YAML 1.2 (or JSON) document whose top is a mapping; nothing at all, or null, is an empty one.

    Keys are their text, as in JSON. `<<` merges mappings; what a mapping says itself wins.

    Raises:
      DocumentError: not YAML, not a mapping, a key twice, tags, more than one document, or out of bounds.

    """
    root = _Reader(read_events(text.removeprefix("\ufeff"))).document()
    marks: dict[KeyPath, Mark] = {}
    match root:
        case None | _Scalar(value=None):
            return Document({}, marks)
        case _Map():
            return Document(_Values(marks).plain(root, ()), marks)
    given: object = root.value if isinstance(root, _Scalar) else []
    raise DocumentError(invalid_type(given, "a mapping with `workers` or `modules`"), root.mark)


def read_events(text: str) -> Iterator[Event]:
    """What the parser finds, one after the other. Raises DocumentError where it is not YAML."""
    mark: Any = None
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            mark = event.start_mark
            yield event
    except MarkedYAMLError as error:
        context = f", {error.context}" if error.context else ""
        raise DocumentError(
            f"{error.problem}{context}", _mark(error.problem_mark or error.context_mark or mark)
        ) from error
    except ReaderError as error:
        at = Mark(text.count("\n", 0, error.position) + 1, error.position - text.rfind("\n", 0, error.position))
        raise DocumentError(f"the character {text[error.position]!a} is not allowed", at) from error
    except (ValueError, OverflowError, AssertionError) as error:  # ruamel on escapes beyond Unicode and odd directives
        raise DocumentError(str(error), _mark(mark)) from error


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


class _Reader:
    """Builds the tree of one document from the parser's events, stopping as soon as a bound is passed."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._anchors: dict[str, _Node] = {}
        self._count = 0

    def document(self) -> _Node | None:
        root: _Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    _refuse("more than one document in the file", event)
            elif isinstance(event, NodeEvent):
                root = self._node(event, 0)
        return root

    def _node(self, event: Event, depth: int) -> _Node:
        self._count += 1
        if self._count > MAX_VALUES:
            _refuse(f"more than {MAX_VALUES} values", event)
        if depth > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH} levels", event)
        if isinstance(event, AliasEvent):
            return self._alias(event)
        node = self._new_node(event, depth)
        # Only a complete value can be named, so no value contains itself.
        if isinstance(event, NodeEvent) and event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _new_node(self, event: Event, depth: int) -> _Node:
        match event:
            case ScalarEvent():
                return _scalar(event)
            case SequenceStartEvent():
                return self._list(event, depth)
            case MappingStartEvent():
                return self._map(event, depth)
        return _refuse("unexpected YAML", event)  # pragma: no cover  # the parser has no other node events

    def _alias(self, event: AliasEvent) -> _Node:
        if event.anchor not in self._anchors:
            _refuse(f"undefined alias `{event.anchor}`", event)
        return self._anchors[event.anchor]

    def _list(self, start: SequenceStartEvent, depth: int) -> _List:
        _check_collection(start)
        items: list[_Node] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return _List(_mark(start.start_mark), items)

    def _map(self, start: MappingStartEvent, depth: int) -> _Map:
        _check_collection(start)
        members: dict[str, tuple[_Scalar, _Node]] = {}
        merged: list[_Map] = []
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, _Scalar):
                _refuse("only text can be a key", event)
            value_event = next(self._events)
            value = self._node(value_event, depth + 1)
            if key.merges:
                merged += _merge_sources(value, value_event)
            elif key.text in members:
                _refuse(f"duplicate key `{key.text}`", event)
            else:
                members[key.text] = (key, value)
        return _Map(_mark(start.start_mark), members, merged)


def _scalar(event: ScalarEvent) -> _Scalar:
    plain = event.tag is None and event.implicit[0]
    if event.tag is not None and event.tag not in _STRING_TAGS:
        _refuse(f"the tag `{event.tag}` is not supported", event)
    try:
        text = _joined_surrogates(event.value)
        value = plain_scalar(text) if plain else text
    except ValueError as error:
        raise DocumentError(str(error), _mark(event.start_mark)) from error
    return _Scalar(_mark(event.start_mark), text, value, plain and text == "<<")


def _joined_surrogates(text: str) -> str:
    """JSON writes characters beyond U+FFFF as two escapes, which YAML reads as two halves."""
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError("an escape that is half a character") from None


def _check_collection(event: SequenceStartEvent | MappingStartEvent) -> None:
    if event.tag not in _COLLECTION_TAGS:
        _refuse(f"the tag `{event.tag}` is not supported", event)


def _merge_sources(value: _Node, event: Event) -> list[_Map]:
    sources = value.items if isinstance(value, _List) else [value]
    maps = [source for source in sources if isinstance(source, _Map)]
    if len(maps) < len(sources):
        _refuse("`<<` takes a mapping or a list of mappings", event)
    return maps


def _refuse(message: str, event: Event) -> NoReturn:
    raise DocumentError(message, _mark(event.start_mark))


class _Values:
    """Turns a tree into plain values, noting the place of each. Counts again: an alias may be used many times."""

    def __init__(self, marks: dict[KeyPath, Mark]) -> None:
        self._marks = marks
        self._count = 0

    def plain(self, node: _Node, path: KeyPath) -> Any:
        self._visit(node, len(path))
        self._marks.setdefault(path, node.mark)
        match node:
            case _Scalar(value=value):
                return value
            case _List(items=items):
                return [self.plain(item, (*path, index)) for index, item in enumerate(items)]
        values: dict[str, Any] = {}
        for name, (key, member) in self._members(node, len(path)).items():
            self._marks[*path, name] = key.mark
            values[name] = self.plain(member, (*path, name))
        return values

    def _members(self, node: _Map, depth: int) -> dict[str, tuple[_Scalar, _Node]]:
        self._visit(node, depth)
        if not node.merged:
            return node.members
        self._count += len(node.members)
        members: dict[str, tuple[_Scalar, _Node]] = {}
        for source in reversed(node.merged):
            inherited = self._members(source, depth + 1)
            self._count += len(inherited)
            members |= inherited
        return members | node.members

    def _visit(self, node: _Node, depth: int) -> None:
        self._count += 1
        if self._count > 2 * MAX_VALUES:
            raise DocumentError(f"more than {MAX_VALUES} values once aliases are followed", node.mark)
        if depth > MAX_DEPTH:
            raise DocumentError(f"nested deeper than {MAX_DEPTH} levels once aliases are followed", node.mark)
