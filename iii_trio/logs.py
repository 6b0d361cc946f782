"""Log lines of the command line program: for people, or one JSON object per line (config-cli-modules 10.3)."""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self, TextIO

import attrs

LogFormat = Literal["default", "json"]
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {"ERROR": "31", "WARN": "33", "INFO": "32", "DEBUG": "34"}
_LEVELS = MappingProxyType({"trace": "DEBUG", "debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"})
_NAMES = {"WARNING": "WARN", "CRITICAL": "ERROR"}


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelname, record.levelname)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


@attrs.frozen
class LogOptions:
    """How an engine logs: the keys `format` and `level` of the observability entry."""

    format: LogFormat = "default"
    level: str = "info"

    @classmethod
    def of(cls, config: Mapping[str, Any], log_format: LogFormat | None = None) -> tuple[Self, list[str]]:
        """What an entry says (observability 2), unless `log_format` is given; and what is wrong with it.

        Of filter directives (`warn,iii=debug`) the one without a target counts. An unknown level is `info`, an unknown
        format `default`.
        """
        written = config.get("level", config.get("log_level")) or "info"
        plain = [part.strip().lower() for part in str(written).split(",") if "=" not in part]
        level = plain[0] if plain else "info"
        problems = [] if level in _LEVELS else [f"log level {written!r} is unknown: info is used"]
        chosen = log_format or ("json" if config.get("format") == "json" else "default")
        return cls(chosen, level if level in _LEVELS else "info"), problems


class PeopleFormatter(logging.Formatter):
    """`[hh:mm:ss.mmm AM] [LEVEL] target message`, further fields as a tree below."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%I:%M:%S", time.localtime(record.created))
        half = time.strftime("%p", time.localtime(record.created))
        level = _level(record)
        if self._colours:
            level = f"\x1b[{_COLOURS.get(level, '0')}m{level}\x1b[0m"
        first = f"[{clock}.{int(record.msecs):03d} {half}] [{level}] {record.name} {record.getMessage()}"
        rows = list(_fields(record).items())
        marks = ["├─"] * (len(rows) - 1) + ["└─"]
        return "\n".join(
            [first, *(f"  {mark} {key}: {value}" for mark, (key, value) in zip(marks, rows, strict=False))]
        )


class JsonFormatter(logging.Formatter):
    """One object per line, without colours."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "timestamp": f"{seconds}.{int(record.msecs):03d}Z",
            "level": _level(record),
            "fields": {"message": record.getMessage(), **_fields(record)},
            "target": record.name,
        }
        return json.dumps(line, default=str, ensure_ascii=False)


class _Handler(logging.StreamHandler[TextIO]):
    """Goes on when a line cannot be written, because the disk is full or the reader has gone; says so once on stderr."""

    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name of `logging`
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._has_failed:
            self._has_failed = True
            print(f"the log cannot be written ({error}); the engine goes on without it", file=sys.stderr)  # noqa: T201


def configure_logging(options: LogOptions, stream: TextIO | None = None, env: Mapping[str, str] = os.environ) -> None:
    """Send the engine's log to `stream` (stdout unless given), coloured on a terminal without `NO_COLOR`.

    For programs of our own: an embedding application configures logging itself.
    """
    stream = stream or sys.stdout
    colours = stream.isatty() and not env.get("NO_COLOR")
    handler = _Handler(stream)
    handler.setFormatter(JsonFormatter() if options.format == "json" else PeopleFormatter(colours=colours))
    for name in ("iii_trio", "actors"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(_LEVELS[options.level])
        logger.propagate = False
