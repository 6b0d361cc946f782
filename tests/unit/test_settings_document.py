"""YAML to plain values with places, within bounds (config-cli-modules 1.1)."""

import json
import time
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.settings.document import DocumentError, parse_document

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def values(text: str) -> dict[str, Any]:
    return parse_document(text).values


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "{}", "null", "~", "---\n", "---\n...\n", "\ufeff{}"])
def test_nothing_is_an_empty_document(text: str) -> None:  # config 12, config 71
    assert values(text) == {}


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.booleans())
def test_json_is_yaml(document: dict[str, Any], escaped: bool) -> None:  # config 71
    text = json.dumps(document, ensure_ascii=True) if escaped else json.dumps(_printable(document), ensure_ascii=False)
    assert values(text) == json.loads(text)


def _printable(value: Any) -> Any:
    """YAML takes fewer characters unescaped than JSON does."""
    return json.loads("".join(c if c.isprintable() else "_" for c in json.dumps(value, ensure_ascii=False)))


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("3111", 3111),
        ("010", 10),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("on", "on"),
        ("2024-01-02", "2024-01-02"),
        ("12:30:45", "12:30:45"),
        ("1.2.3", "1.2.3"),
        ("+", "+"),
        ("Null", None),
        ("", None),
        ("'3111'", "3111"),
        ("!!str 3111", "3111"),
        ("! 3111", "3111"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(scalar: str, value: Any) -> None:
    got = values(f"a: {scalar}")["a"]
    assert got == value
    assert type(got) is type(value)


def test_not_a_number() -> None:
    got = values("a: .nan")["a"]
    assert got != got


def test_keys_are_their_text() -> None:
    assert values("{1: a, true: b, null: c, '<<': d, ~: e}") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "<<": "d",
        "~": "e",
    }


def test_aliases_and_merges() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {<<: *b}\ne: [*a, *a]\n"
    document = values(text)
    assert document["c"] == {"x": 3, "y": 1, "z": 2}
    assert document["d"] == {"y": 2, "z": 2}
    assert document["e"] == [{"x": 1, "y": 1}] * 2
    document["e"][0]["x"] = 9
    assert document["e"][1]["x"] == 1  # values share nothing


def test_an_anchor_may_be_named_again_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values("a: &x 1\nb: &x 2\nc: *x\n")["c"] == 2


def test_every_key_and_item_has_its_place() -> None:
    marks = parse_document("workers:\n  - name: a\n    config: {port: 1,\n      hosts: [x,\n y]}\n").marks
    assert marks["workers",] == (1, 1)
    assert marks["workers", 0] == (2, 5)
    assert marks["workers", 0, "config"] == (3, 5)
    assert marks["workers", 0, "config", "port"] == (3, 14)
    assert marks["workers", 0, "config", "hosts", 1] == (5, 2)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("- a\n- b\n", "invalid type: a list, expected a mapping", 1),  # config 71
        ("\n5", "invalid type: integer `5`, expected a mapping", 2),
        ("text", 'invalid type: string "text"', 1),
        ("a: [1,\n", "expected the node content", 2),  # config 8
        ("a: 1\n b: 2\n", "mapping values are not allowed", 2),
        ("a: 1\nb: 2\na: 3\n", "duplicate key `a`", 3),
        ("a: 1\n---\nb: 2\n", "more than one document", 2),
        ("a: 1\nb: *no\n", "undefined alias `no`", 2),
        ("a: &a [*a]\n", "undefined alias `a`", 1),
        ("a: !!binary aGk=\n", "the tag `tag:yaml.org,2002:binary` is not supported", 1),
        ("a: !mine {b: 1}\n", "the tag `!mine` is not supported", 1),
        ("? [a]\n: b\n", "only text can be a key", 1),
        ("a:\n  <<: 5\n", "`<<` takes a mapping", 2),
        ("a: 1\nb: \x07\n", r"the character '\x07' is not allowed", 2),
        ('a: "\\ud83d"', "half a character", 1),
        ('a: "\\UFFFFFFFF"', "too large", 1),
        ('a: "\\U00FFFFFF"', "not in range", 1),
        ("%YAML 1.20\n---\na: 1\n", "version", 1),
        ("a: " + "9" * 300, "a number of 300 characters", 1),
        ("a: '\n\n", "found unexpected end of stream", 3),
    ],
)
def test_what_is_refused_names_its_line(text: str, message: str, line: int) -> None:
    with pytest.raises(DocumentError) as caught:
        values(text)
    assert message in str(caught.value)
    assert caught.value.mark.line == line


def test_escapes_of_json_beyond_the_basic_plane() -> None:
    assert values(r'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}


def _laughs(opening: str, closing: str) -> str:
    levels = [f"a{n}: &a{n} {opening}{', '.join([f'*a{n - 1}'] * 10)}{closing}" for n in range(1, 20)]
    return "\n".join(["a0: &a0 {k: 1}", *levels])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_laughs("[", "]"), "more than 100000 values once aliases are followed"),
        (_laughs("{<<: [", "]}"), "more than 100000 values once aliases are followed"),
        ("a: [" + "1," * 150_000 + "]", "more than 100000 values"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("{a: " * 100_000, "nested deeper than 64 levels"),
        (
            "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100)),
            "nested deeper than 64 levels once aliases are followed",
        ),
    ],
)
def test_bombs_are_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        values(text)


def test_a_thousand_lines_load_fast() -> None:
    entry = "  - name: iii-exec\n    config:\n      exec: ['a', \"b\"] # c\n      port: 3111\n"
    text = "workers:\n" + entry * 250

    def cost() -> float:
        started = time.process_time()
        assert len(values(text)["workers"]) == 250
        return time.process_time() - started

    assert min(cost() for _ in range(3)) < 0.3
