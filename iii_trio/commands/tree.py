"""`iii-trio tree`: the supervision tree of a running engine, for people or as JSON (`engine::supervisor::tree`)."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, TextIO
from uuid import uuid4

import attrs

from iii_trio.protocol import Json, decode_json

from ._client import EngineAddress, EngineUnreachable, Question, ask
from .trigger import pretty

_FUNCTION: Final = "engine::supervisor::tree"
_BOLD, _DIM, _RED, _GREEN, _YELLOW = "1", "2", "31", "32", "33"
_STATES: Final = MappingProxyType({"running": _GREEN, "starting": _YELLOW, "restarting": _YELLOW, "stopping": _YELLOW})


@attrs.frozen
class TreeOptions:
    """What the command line says. `timeout` is in seconds."""

    engine: EngineAddress
    timeout: float = 10.0
    json: bool = False


def tree(options: TreeOptions, env: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Print the tree; coloured on a terminal unless `NO_COLOR` is set in `env`. Returns the exit code."""
    try:
        answer = ask(options.engine, Question(str(uuid4()), _FUNCTION), options.timeout)
    except EngineUnreachable as error:
        print(f"Error: {error}", file=stderr)
        return 1
    if answer.error is not None:
        print(f"Error: {answer.error.code}: {answer.error.message}", file=stderr)
        return 1
    if options.json:
        print(pretty(answer.result), file=stdout)
    else:
        paint = Paint(colours=stdout.isatty() and not env.get("NO_COLOR"))
        print("\n".join(lines(decode_json(memoryview(answer.result)), paint)), file=stdout)
    return 0


@attrs.frozen
class Paint:
    """Colours by ANSI codes, or not at all."""

    colours: bool = False

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and text else text


def lines(node: Json, paint: Paint) -> Iterator[str]:
    """One line for each node, children below their supervisor and in starting order."""
    yield _line(node, node["path"], paint)
    yield from _below(node, "", paint)


def _below(node: Json, indent: str, paint: Paint) -> Iterator[str]:
    for number, child in enumerate(node["children"], 1):
        last = number == len(node["children"])
        name = child["path"].removeprefix(f"{node['path']}/")
        yield paint(f"{indent}{'└─ ' if last else '├─ '}", _DIM) + _line(child, name, paint)
        yield from _below(child, indent + ("   " if last else "│  "), paint)


def _line(node: Json, name: str, paint: Paint) -> str:
    kind = " ".join(filter(None, (node["kind"], node["strategy"])))
    words = [
        paint(plain(name), _BOLD),
        paint(plain(kind), _DIM),
        paint(plain(node["state"]), _STATES.get(node["state"], _RED)),
        *(paint(text, code) for text, code in _remarks(node)),
    ]
    return "  ".join(words)


def _remarks(node: Json) -> Iterator[tuple[str, str]]:
    """What is worth saying only when it is out of the ordinary."""
    if node["incarnation"] > 1:
        yield f"incarnation {node['incarnation']}", _YELLOW
    if node["restarts_in_window"]:
        yield f"restarts {node['restarts_in_window']}", _YELLOW
    if node["mailbox_depth"]:
        yield f"mailbox {node['mailbox_depth']}", _DIM
    end = node["last_exit"]
    if end is not None:
        error = f": {plain(end['error'])}" if end["error"] else ""
        yield f"last exit {plain(end['reason'])}{error}", _RED if end["reason"] == "crashed" else _DIM


def plain(text: str) -> str:
    """Text of others in one line, without what would act on the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
