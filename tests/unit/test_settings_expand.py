"""`${NAME:default}` in the raw text of a file (config-cli-modules 1.2)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.settings.expand import ExpansionTooLargeError, expand

LIMIT = 100_000


@pytest.mark.parametrize(
    ("text", "env", "result"),
    [
        ("${PORT:3111}", {}, "3111"),  # config 3
        ('"${PORT:3111}"', {}, '"3111"'),
        ("${PORT:3111}", {"PORT": "8080"}, "8080"),
        ("${PORT:3111}", {"PORT": ""}, ""),
        ("${NAME:}", {}, ""),  # config 4
        ("${URL:redis://h:6379/0}", {}, "redis://h:6379/0"),
        ("${A:-x}", {}, "-x"),
        ("${A:${B:c}}", {}, "${B:c}"),
        ("${A:${B:c}}", {"B": "never seen"}, "${B:c}"),
        ("$HOME $100 $", {"HOME": "/root"}, "$HOME $100 $"),
        ("${OPEN", {"OPEN": "x"}, "${OPEN"),
        ("a: ${OPEN\nb: ${X:1}\n", {}, "a:  ${X:1\n"),
        (r"\${A:x}", {}, r"\x"),
        ("$${A:x}", {}, "$x"),
        ("${A}", {"A": "v"}, "v"),
        ("${V:__III_ENGINE_VERSION__}", {}, "9.8.7"),
        ("${V:__III_ENGINE_VERSION__}", {"V": "1"}, "1"),
        ("${V:x__III_ENGINE_VERSION__}", {}, "x__III_ENGINE_VERSION__"),
        ("__III_ENGINE_VERSION__", {}, "__III_ENGINE_VERSION__"),
        ("${A:x}", {"A": "${B:y}"}, "${B:y}"),
        ("${}${:x}", {}, "${}${:x}"),
        ("${a b.c-d:1}", {}, "1"),
        ("# ${A:x} 'and ${B:y}'", {}, "# x 'and y'"),
        ("", {}, ""),
    ],
)
def test_expansion(text: str, env: dict[str, str], result: str) -> None:
    assert expand(text, env, "9.8.7", limit=LIMIT).text == result


def test_every_missing_variable_is_named_with_its_line() -> None:  # config 5
    expansion = expand("a: ${A}\n# ${B}\nc: ${A} ${C:x} ${D}\n", {}, "1", limit=LIMIT)
    assert expansion.missing == (("A", 1), ("B", 2), ("D", 3))


def test_lines_of_the_result_are_those_of_the_source() -> None:
    source = "a: 1\nb: ${TWO}\nc: 2\nd: ${X\n:1}\ne: ${TWO}${TWO}\nf: 3"
    expansion = expand(source, {"TWO": "x\ny"}, "1", limit=LIMIT)
    lines = expansion.text.split("\n")
    assert lines == ["a: 1", "b: x", "y", "c: 2", "d: 1", "e: x", "yx", "y", "f: 3"]
    assert [expansion.source_line(line) for line in range(1, 10)] == [1, 2, 2, 3, 4, 6, 6, 6, 7]


def test_missing_variables_behind_long_values_keep_their_line() -> None:
    expansion = expand("a: ${TWO}\nb: ${A\n:x}\nc: ${GONE}", {"TWO": "x\ny\nz"}, "1", limit=LIMIT)
    assert expansion.missing == (("GONE", 4),)


def test_the_result_is_bounded() -> None:
    with pytest.raises(ExpansionTooLargeError, match="more than 50 characters"):
        expand("${A}" * 6, {"A": "x" * 10}, "1", limit=50)
    assert expand("${A}" * 5, {"A": "x" * 10}, "1", limit=50).text == "x" * 50


def test_unclosed_placeholders_cost_linear_time() -> None:
    many = "${" * 500_000  # searching each to the end would take hours
    assert expand("}" + many, {}, "1", limit=2_000_000).text == "}" + many


@given(
    st.text(alphabet="${}:AB\n", max_size=60),
    st.dictionaries(st.sampled_from("AB"), st.sampled_from(["", "v", "${A}"])),
)
def test_expansion_is_the_documented_expression(text: str, env: dict[str, str]) -> None:
    def value(match: re.Match[str]) -> str:
        return env.get(match[1], match[2] or "")

    assert expand(text, env, "1", limit=LIMIT).text == re.sub(r"\$\{([^}:]+)(?::([^}]*))?\}", value, text)
