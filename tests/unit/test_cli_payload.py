"""The payload rules of `iii-trio trigger` as a table (config-cli-modules 10.2)."""

import json

import pytest

from iii_trio.commands._payload import BadPayload, Given

PAYLOADS = [
    (None, [], {}),
    (
        None,
        ["a=10", "b=true", "c=hello", 'd={"x":1}', "e="],
        {"a": 10, "b": True, "c": "hello", "d": {"x": 1}, "e": ""},
    ),
    (None, ["a=b=c", "n=null", "f=1.5", 'q="7"', "z=01"], {"a": "b=c", "n": None, "f": 1.5, "q": "7", "z": "01"}),
    (None, ["a=NaN", "b=1e400", "c=[1", "d= 5 "], {"a": "NaN", "b": "1e400", "c": "[1", "d": 5}),
    (None, ["a=1", "a=2"], {"a": 2}),
    ('{"a":1,"b":2}', ["b=3"], {"a": 1, "b": 3}),
    ('{"a":{"x":1}}', ['a={"y":2}'], {"a": {"y": 2}}),  # shallow
    ('{"a":1}', ["a=2"], {"a": 2}),  # config 60
    ("[1]", [], [1]),
    ('"text"', [], "text"),
    ("null", [], None),
]


@pytest.mark.parametrize(("text", "words", "payload"), PAYLOADS)
@pytest.mark.parametrize("option", ["--json", "--payload"])
def test_words_and_json_make_a_payload(text: str | None, words: list[str], payload: object, option: str) -> None:
    assert json.loads(Given(text, option, tuple(words)).payload()) == payload


@pytest.mark.parametrize("text", ['{"big":123456789012345678901234567890,"n":1.0}', '{"a":1,"a":2}', " [ 1 ] ", '"é"'])
def test_json_that_stands_alone_goes_on_as_it_was_written(text: str) -> None:
    assert Given(text).payload() == text.encode()


REFUSED = [  # config 60
    ("[1]", "--json", ["a=2"], "--json must be an object when combined with kv pairs"),
    ('"x"', "--payload", ["a=2"], "--payload must be an object when combined with kv pairs"),
    (None, "--json", ["x"], "expected key=value, got `x`"),
    (None, "--json", ["a=1", "tok"], "expected key=value, got `tok`"),
    (None, "--json", ["=1"], "payload key must not be empty (got `=1`)"),
    ("nope", "--json", [], "--json: invalid JSON `nope`"),
    ("", "--json", [], "--json: invalid JSON ``"),
    ("\udcff", "--json", [], "--json: invalid JSON `"),
    ("{", "--payload", [], "Invalid JSON payload:"),
]


@pytest.mark.parametrize(("text", "option", "words", "message"), REFUSED)
def test_what_makes_no_payload_is_refused(text: str | None, option: str, words: list[str], message: str) -> None:
    with pytest.raises(BadPayload) as refusal:
        Given(text, option, tuple(words)).payload()
    assert str(refusal.value).startswith(message)


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(BadPayload) as refusal:
        Given("x" * 100_000).payload()
    assert len(str(refusal.value)) < 400
