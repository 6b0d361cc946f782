"""Blocks taken out of the text of a configuration file: what goes, what stays, byte for byte (config-cli-modules 4.4)."""

from pathlib import Path
from textwrap import dedent

import pytest

from iii_trio.protocol.errors import ConfigError
from iii_trio.settings.load import read_values
from iii_trio.settings.strip import Block, Stripped, strip_blocks

SAYS = "it lives elsewhere"
NAMES = {"iii-http": SAYS, "modules::api::RestApiModule": "so does this"}


def values(text: str) -> dict[str, object]:
    return dict(read_values(Path("c.yaml"), text, {"PORT": "5", "LINES": "1\n\n\n"}, "1"))


def blocks(text: str) -> list[Block]:
    """The blocks of http modules."""
    found = []
    for part, listed in values(text).items():
        for index, entry in enumerate(listed if isinstance(listed, list) else []):
            written = (entry.get("name") or entry.get("class")) if "config" in entry else None
            if written in NAMES:
                found.append(Block(f"{part}[{index}]", written, entry["config"], NAMES[written]))
    return found


def stripped(text: str) -> Stripped:
    return strip_blocks(text, blocks(text), values)


TAKEN = {
    "a block": (
        """\
        # the file
        workers:
          - name: iii-worker-manager  # first
            config: {port: 5}

          - name: iii-http
            config:  # of http
              # its port
              port: 3111   # a comment
              cors:
                allowed_origins:
                  - a

              # left over

            # of the next
          - name: iii-cron
        """,
        """\
        # the file
        workers:
          - name: iii-worker-manager  # first
            config: {port: 5}

          - name: iii-http
            # it lives elsewhere

              # left over

            # of the next
          - name: iii-cron
        """,
    ),
    "the old vocabulary": (
        """\
        port: 5
        modules:
        - class: modules::api::RestApiModule
          config:
            port: 1
            middleware:
            - function_id: f
        - class: x
          config: {}
        """,
        """\
        port: 5
        modules:
        - class: modules::api::RestApiModule
          # so does this
        - class: x
          config: {}
        """,
    ),
    "braces": (
        """\
        workers:
          - name: iii-http
            config: {port: 1}  # small
            other: {key, "word"}
        """,
        """\
        workers:
          - name: iii-http
            # it lives elsewhere
            other: {key, "word"}
        """,
    ),
    "braces over lines": (
        """\
        workers:
          - name: iii-http
            "config": {
              port: 1, # }
              cors: {allowed_origins: [a,
                b]}
            }
        """,
        """\
        workers:
          - name: iii-http
            # it lives elsewhere
        """,
    ),
    "the first key of its entry": (
        """\
        workers:
          - config:
              port: 1
            name: iii-http
        """,
        """\
        workers:
          - # it lives elsewhere
            name: iii-http
        """,
    ),
    "an entry in braces": (
        """\
        workers:
          - {name: iii-http, config: {port: 1}}  # end
          - {name: other}
        """,
        """\
        workers:
          # it lives elsewhere
          - {name: iii-http}  # end
          - {name: other}
        """,
    ),
    "an entry in braces, which begins with it": (
        """\
        workers: [{config: {port: 1} , name: iii-http}, {name: other}]
        """,
        """\
        # it lives elsewhere
        workers: [{name: iii-http}, {name: other}]
        """,
    ),
    "an entry in braces over lines": (
        """\
        workers:
          - {
            name: iii-http,
            config: {port: 1},  # end
            x: y
          }
        """,
        """\
        workers:
          - {
            name: iii-http,
            # it lives elsewhere
            x: y
          }
        """,
    ),
    "the last of an entry in braces": (
        """\
        workers:
          - {name: iii-http,
             config: {port: 1}}
          - {
            name: other
          }
        """,
        """\
        workers:
          # it lives elsewhere
          - {name: iii-http}
          - {
            name: other
          }
        """,
    ),
    "texts": (
        """\
        workers:
          - name: iii-http
            config:
              long: |+
                # text

                more

            x: 1
          - name: modules::api::RestApiModule
            config:
              folded: one
                two
              empty:
        # end
        """,
        """\
        workers:
          - name: iii-http
            # it lives elsewhere

            x: 1
          - name: modules::api::RestApiModule
            # so does this
        # end
        """,
    ),
    "an alias": (
        """\
        workers:
          - name: other
            config: &c {port: 1}
          - name: iii-http
            config: *c
        """,
        """\
        workers:
          - name: other
            config: &c {port: 1}
          - name: iii-http
            # it lives elsewhere
        """,
    ),
    "a document with marks": (
        """\
        %YAML 1.2
        ---
        # ${OPEN, which is never closed
        workers:
        - name: iii-http
          config:
            port: 1
        ...
        """,
        """\
        %YAML 1.2
        ---
        # ${OPEN, which is never closed
        workers:
        - name: iii-http
          # it lives elsewhere
        ...
        """,
    ),
}


@pytest.mark.parametrize("case", TAKEN)
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_comment_comes_in_place_of_a_block(case: str, line_break: str, bom: str) -> None:
    before, after = (bom + dedent(text).replace("\n", line_break) for text in TAKEN[case])
    done = stripped(before)
    assert done.text == after
    assert not done.left
    assert not done.fixed
    assert len(done.taken) == len(blocks(before))


def test_the_end_of_a_file_stays_as_it_is() -> None:
    assert stripped("workers:\n- name: iii-http\n  config:\n    port: 1").text == (
        f"workers:\n- name: iii-http\n  # {SAYS}"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  # {0}\n  config: {{port: 1}}\n  x: 1\n", "  # {0}\n  x: 1\n"),
        ("  # {0}\n  config:\n    port: 1", "  # {0}\n"),
        ("  # {0}\n- config: {{port: 1}}\n  name: iii-http\n", "  # {0}\n- \n  name: iii-http\n"),
        ("- {{name: iii-http, config: {{port: 1}}}}\n# {0}\n", "- {{name: iii-http}}\n# {0}\n"),
    ],
)
def test_a_comment_that_is_there_is_not_repeated(before: str, after: str) -> None:
    start = "workers:\n- name: iii-http\n"
    assert stripped(start + before.format(SAYS)).text == start + after.format(SAYS)


def test_variables_are_named_as_gone() -> None:
    text = dedent(
        """\
        # ${PORT}
        port: ${PORT}
        workers:
          - {name: "${NAME:other}", config: {port: ${LINES}}}
          - name: ${NAME:iii-http}
            config:
              port: ${PORT:6}
              host: ${HOST:a: b}
          - {name: modules::api::RestApiModule, config: {port: 1}}
        """
    )
    done = stripped(text.replace("${HOST:a: b}", "${HOST:a}"))
    assert [block.written for block in done.fixed] == ["iii-http"]
    assert [block.written for block in done.taken] == ["iii-http", "modules::api::RestApiModule"]
    assert done.text == dedent(
        """\
        # ${PORT}
        port: ${PORT}
        workers:
          - {name: "${NAME:other}", config: {port: ${LINES}}}
          - name: ${NAME:iii-http}
            # it lives elsewhere
          # so does this
          - {name: modules::api::RestApiModule}
        """
    )


LEFT = {
    "used elsewhere": (
        "workers:\n- name: iii-http\n  config: &c {port: 1}\n- name: other\n  config: *c\n",
        "without it the rest of the file would mean something else",
    ),
    "merged": (
        "workers:\n- &b {name: other, config: {port: 1}}\n- {<<: *b, name: iii-http}\n",
        "it is not written in its entry",
    ),
    "over a merged one": (
        "workers:\n- &b {name: other, config: {port: 1}}\n- {<<: *b, name: iii-http, config: {}}\n",
        "without it the rest of the file would mean something else",
    ),
    "in a list of another place": (
        "workers: &w\n- {name: iii-http, config: {port: 1}}\nmodules: *w\n",
        "without it the rest of the file would mean something else",
    ),
    "made of a variable": (
        "workers:\n- {name: iii-http, '${KEY:config}': {port: 1}}\n",
        "it is not written in its entry",
    ),
    "ends a variable": ("workers:\n- name: iii-http # ${A:\n  config: {port: 1}}\n", "it is not written in its entry"),
    "beside a variable that holds more than a value": (
        'workers:\n- {name: iii-http, config: {port: 1}}\n- {name: "${A:"}}\n',
        "it is not written in its entry",
    ),
    "JSON": ('{"workers": [{"name": "iii-http", "config": {"port": 1}}]}', "JSON has no comments"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_cannot_go_stays(case: str) -> None:
    text, reason = LEFT[case]
    done = stripped(text)
    assert done.text == text
    assert not done.taken
    assert done.left[0][1].startswith(reason)


@pytest.mark.parametrize(
    "later",
    [
        "workers: [{name: iii-http, config: {port: 2}}]",
        "workers: [{name: other, config: {port: 1}}]",
        "modules: [{name: iii-http, config: {port: 1}}]",
        "workers: [{name: iii-http}]",
        "workers: [5]",
        "workers: 5",
        "{}",
    ],
)
def test_a_file_that_says_something_else_by_now_stays(later: str) -> None:
    done = strip_blocks(later, [Block("workers[0]", "iii-http", {"port": 1}, SAYS)], values)
    assert done.text == later
    assert done.left[0][1] == "the file has changed since it was read"


def test_a_file_that_is_broken_by_now_is_refused() -> None:
    with pytest.raises(ConfigError, match="Failed to parse"):
        strip_blocks("workers: [", [Block("workers[0]", "iii-http", {"port": 1}, SAYS)], values)


def test_what_is_nested_deeper_than_it_means_is_left_in() -> None:
    deep = f'[${{A:"}}, {"[" * 90}{"]" * 90}, ${{A:"}}]'
    text = f"workers:\n- {{name: iii-http, config: {{port: 1}}}}\n- {{name: {deep}}}\n"
    assert values(text)
    done = stripped(text)
    assert done.text == text
    assert done.left
