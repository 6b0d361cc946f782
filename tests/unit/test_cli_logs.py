"""Log lines of the command (config-cli-modules 10.3): for people, for machines, and how the file chooses."""

import errno
import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from iii_trio.logs import JsonFormatter, LogOptions, PeopleFormatter, configure_logging

pytestmark = pytest.mark.usefixtures("loggers_as_they_were")
NOON = 1_750_000_000.25


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def record(level: int = logging.INFO, message: str = "hello %s", *args: Any, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("iii_trio.engine", level, __file__, 1, message, args or ("you",), None)
    made.created, made.msecs = NOON, 250.0
    vars(made).update(fields)
    return made


PEOPLE = [
    (record(), "[03:06:40.250 PM] [INFO] iii_trio.engine hello you"),
    (record(logging.WARNING), "[03:06:40.250 PM] [WARN] iii_trio.engine hello you"),
    (record(logging.CRITICAL), "[03:06:40.250 PM] [ERROR] iii_trio.engine hello you"),
    (
        record(function="orders::add", worker="w1"),
        "[03:06:40.250 PM] [INFO] iii_trio.engine hello you\n  ├─ function: orders::add\n  └─ worker: w1",
    ),
]


class Full(io.StringIO):
    """A disk that is full, or a reader that has gone."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogOptions(), Full())
    for _ in range(3):
        logging.getLogger("iii_trio.engine").info("hello")
    said = capsys.readouterr().err
    assert said == "the log cannot be written ([Errno 28] No space left on device); the engine goes on without it\n"


def test_a_line_that_cannot_be_made_is_reported_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogOptions(), io.StringIO())
    logging.getLogger("iii_trio.engine").info("%d", "no number")
    assert "--- Logging error ---" in capsys.readouterr().err


@pytest.mark.parametrize(("line", "text"), PEOPLE)
def test_lines_for_people(line: logging.LogRecord, text: str) -> None:
    assert PeopleFormatter(colours=False).format(line) == text


def test_colours_stand_around_the_level_only() -> None:
    text = PeopleFormatter(colours=True).format(record(logging.ERROR))
    assert text == "[03:06:40.250 PM] [\x1b[31mERROR\x1b[0m] iii_trio.engine hello you"


def test_lines_for_machines() -> None:
    assert json.loads(JsonFormatter().format(record(logging.WARNING, port=5))) == {
        "timestamp": "2025-06-15T15:06:40.250Z",
        "level": "WARN",
        "fields": {"message": "hello you", "port": 5},
        "target": "iii_trio.engine",
    }


def test_a_traceback_is_a_field_of_its_line() -> None:
    line = record()
    try:
        raise ValueError("broken\nin two")
    except ValueError as error:
        line.exc_info = (ValueError, error, error.__traceback__)
    text = JsonFormatter().format(line)
    assert "\n" not in text
    assert json.loads(text)["fields"]["exception"].endswith("ValueError: broken\nin two")


TERMINALS = [
    (io.StringIO(), {}, "default", False),
    (Terminal(), {}, "default", True),
    (Terminal(), {"NO_COLOR": "1"}, "default", False),
    (Terminal(), {"NO_COLOR": ""}, "default", True),
    (Terminal(), {}, "json", False),  # config 65
]


@pytest.mark.parametrize(("stream", "env", "log_format", "colours"), TERMINALS)
def test_colours_are_for_terminals(stream: io.StringIO, env: dict[str, str], log_format: Any, colours: bool) -> None:
    configure_logging(LogOptions(log_format), stream, env)
    logging.getLogger("iii_trio.engine").warning("hello")
    assert "hello" in stream.getvalue()
    assert ("\x1b" in stream.getvalue()) is colours


def test_the_level_silences_what_is_below(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    configure_logging(LogOptions(level="warn"), stream, {})
    logging.getLogger("iii_trio.engine").info("quiet")
    logging.getLogger("actors").warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()
    assert caplog.records == []  # nor is anything said twice by a root handler


CONFIGS = [
    ({}, None, LogOptions("default", "info"), 0),
    ({"level": "warn", "format": "json"}, None, LogOptions("json", "warn"), 0),
    ({"log_level": "debug"}, None, LogOptions("default", "debug"), 0),
    ({"level": "WARN,iii=debug", "format": "json"}, "default", LogOptions("default", "warn"), 0),  # flags win
    ({"level": "iii=debug"}, None, LogOptions("default", "info"), 0),
    ({"level": "loud", "format": "xml"}, None, LogOptions("default", "info"), 1),
    ({"level": 5}, None, LogOptions("default", "info"), 1),
]


@pytest.mark.parametrize(("config", "flag", "options", "problems"), CONFIGS)
def test_the_observability_entry_chooses(config: Any, flag: Any, options: LogOptions, problems: int) -> None:
    made, found = LogOptions.of(config, flag)
    assert made == options
    assert len(found) == problems
