"""Typed payloads: strict structuring, and what cannot be structured says where (worker SDK, typed handlers)."""

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.worker._convert import MismatchError, structuring, unstructure
from iii_trio.worker._schema import schema_of


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Line:
    sku: str
    qty: int = 1


@attrs.frozen
class Note:
    text: str


def _short(_: Any, __: Any, value: str) -> None:
    if len(value) > 3:
        raise ValueError("longer than 3")


@attrs.frozen
class Everything:
    text: str
    number: float
    flag: bool
    lines: list[Line]
    by_name: dict[str, Line]
    pair: tuple[int, str]
    many: tuple[int, ...]
    unique: frozenset[str]
    maybe: int | None
    either: Line | Note
    mode: Literal["fast", "slow"]
    colour: Colour
    when: datetime
    day: date
    key: UUID
    anything: Any
    bare: list  # type: ignore[type-arg]
    short: str = attrs.field(default="", validator=_short)


WHOLE: dict[str, Any] = {
    "text": "t",
    "number": 1,
    "flag": True,
    "lines": [{"sku": "a", "qty": 2}],
    "by_name": {"b": {"sku": "b"}},
    "pair": [1, "x"],
    "many": [1, 2],
    "unique": ["u", "u"],
    "maybe": None,
    "either": {"text": "note"},
    "mode": "fast",
    "colour": "red",
    "when": "2026-01-02T03:04:05Z",
    "day": "2026-01-02",
    "key": "5b0c0a43-92f8-4a07-9c1a-6a3f1f3b9d10",
    "anything": {"x": [None]},
    "bare": [1, "two"],
    "unknown": "ignored",
}


def test_everything_becomes_what_it_is_annotated_as() -> None:
    assert structuring(Everything)(WHOLE) == Everything(
        "t",
        1.0,
        True,
        [Line("a", 2)],
        {"b": Line("b")},
        (1, "x"),
        (1, 2),
        frozenset({"u"}),
        None,
        Note("note"),
        "fast",
        Colour.RED,
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        date(2026, 1, 2),
        UUID("5b0c0a43-92f8-4a07-9c1a-6a3f1f3b9d10"),
        {"x": [None]},
        [1, "two"],
    )


@pytest.mark.parametrize(
    ("member", "value", "complaint"),
    [
        ("text", 5, "an integer where a string is expected @ $.text"),
        ("text", None, "null where a string is expected @ $.text"),
        ("number", "1", "a string where a number is expected @ $.number"),
        ("number", True, "a boolean where a number is expected @ $.number"),
        ("flag", 1, "an integer where a boolean is expected @ $.flag"),
        ("lines", "abc", "a string where an array is expected @ $.lines"),
        ("lines", [{"sku": "a"}, {"sku": 1}], "an integer where a string is expected @ $.lines[1].sku"),
        ("lines", [[]], "an array where an object is expected @ $.lines[0]"),
        ("by_name", [], "an array where an object is expected @ $.by_name"),
        ("by_name", {"b": {}}, "missing @ $.by_name['b'].sku"),
        ("pair", [1], "1 items where 2 are expected @ $.pair"),
        ("pair", ["x", "x"], "a string where an integer is expected @ $.pair"),
        ("many", [1, 1.5], "a number where an integer is expected"),
        ("unique", {"u": 1}, "an object where an array is expected @ $.unique"),
        ("mode", "medium", "'medium' is none of 'fast', 'slow' @ $.mode"),
        ("colour", "green", "'green' is not a valid Colour @ $.colour"),
        ("when", "yesterday", "Invalid isoformat string: 'yesterday' @ $.when"),
        ("when", 5, "an integer where a string is expected @ $.when"),
        ("key", "x", "badly formed hexadecimal UUID string @ $.key"),
        ("short", "long", "longer than 3"),
    ],
)
def test_what_does_not_fit_says_where(member: str, value: Any, complaint: str) -> None:
    with pytest.raises(MismatchError) as caught:
        structuring(Everything)({**WHOLE, member: value})
    assert complaint in str(caught.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(MismatchError) as caught:
        structuring(Everything)({})
    assert str(caught.value).count("missing @ $.") == len(WHOLE) - 1


@pytest.mark.parametrize("value", [None, "text", [], 1, {"neither": 1}])
def test_a_union_of_classes_takes_only_one_of_them(value: Any) -> None:
    with pytest.raises(MismatchError):
        structuring(Line | Note)(value)  # type: ignore[arg-type]


def test_abstract_containers() -> None:
    assert structuring(Sequence[int])([1]) == [1]  # type: ignore[type-abstract]
    assert structuring(Mapping[str, int])({"a": 1}) == {"a": 1}  # type: ignore[type-abstract]
    with pytest.raises(MismatchError):
        structuring(Sequence[int])("12")  # type: ignore[type-abstract]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(WHOLE)), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_whatever_comes_is_structured_or_a_mismatch(value: Any) -> None:
    made, complaint = None, "@ $"
    try:
        made = structuring(Everything | Line | None)(value)  # type: ignore[arg-type]
    except MismatchError as error:
        complaint = str(error)
    assert made is None or isinstance(made, Everything | Line)
    assert "@ $" in complaint


@given(st.from_type(Line))
def test_there_and_back(line: Line) -> None:
    assert structuring(Line)(unstructure(line)) == line
    assert set(unstructure(line)) == set(schema_of(Line)["properties"])


def test_unstructuring_goes_through_containers() -> None:
    assert unstructure({"lines": [Line("a")], "colour": Colour.RED}) == {
        "lines": [{"sku": "a", "qty": 1}],
        "colour": "red",
    }
