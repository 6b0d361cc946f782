"""Configuration files: found, read, expanded, parsed, checked (config-cli-modules 1.1, 1.2)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iii_trio.protocol.errors import ConfigError

from .build import build_settings
from .catalogue import Catalogue
from .expand import Expansion, ExpansionTooLargeError, expand
from .messages import printable
from .model import Settings
from .source import Mark, Source

if TYPE_CHECKING:
    from .document import Document

DEFAULT_NAMES: Final = ("config.yaml", "iii-config.yaml")
MAX_BYTES: Final = 4 * 1024 * 1024  # far beyond any configuration; some seconds of parsing at worst


def find_config(cwd: Path) -> Path | None:
    """The configuration file of a directory when none is named: `config.yaml`, else `iii-config.yaml`, else `None`.

    A name that is there but cannot be read counts as found, so that `load_settings` says what is wrong with it.
    """
    return next((cwd / name for name in DEFAULT_NAMES if os.path.lexists(cwd / name)), None)


def load_settings(path: Path | str, env: Mapping[str, str], catalogue: Catalogue, engine_version: str) -> Settings:
    """Read a configuration file of either vocabulary and make `Settings` of it (config-cli-modules 1).

    Args:
      path: the file, named in messages as it is given here.
      env: the variables for `${NAME:default}`, and `III_NAMESPACE_GRACE_MS`.
      catalogue: what this engine can start.
      engine_version: what `${NAME:__III_ENGINE_VERSION__}` stands for.

    Blocks while reading; the file is not changed.

    Raises:
      ConfigError: with every problem; unreadable files, missing variables and bad YAML end the work where they occur.

    """
    path = Path(path)
    expansion = _expand(path, read_text(path), env, engine_version)
    document = _parse(path, expansion)
    marks = {key: Mark(expansion.source_line(mark.line), mark.column) for key, mark in document.marks.items()}
    return build_settings(document.values, catalogue, env=env, source=Source(str(path), marks), path=path)


def read_values(path: Path, text: str, env: Mapping[str, str], engine_version: str) -> Mapping[str, Any]:
    """What `text` would come to if it stood in the file, unchecked. Arguments and errors: `load_settings`."""
    return _parse(path, _expand(path, text, env, engine_version)).values


def read_text(path: Path) -> str:
    """The text of a file, variables not put in. Raises ConfigError if it cannot be one of ours."""
    failed = f"Failed to read config file '{path}': "
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        hint = "Name an existing file, or start without one to run the default modules."
        raise ConfigError([f"Config file not found: '{path}'.", hint]) from error
    except OSError as error:
        raise ConfigError([failed + (error.strerror or str(error))]) from error
    if len(data) > MAX_BYTES:
        raise ConfigError([f"{failed}larger than {MAX_BYTES} bytes"])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{failed}not UTF-8 at {path}:{line} ({error.reason})"]) from error


def _expand(path: Path, text: str, env: Mapping[str, str], engine_version: str) -> Expansion:
    try:
        expansion = expand(text, env, engine_version, limit=MAX_BYTES)
    except ExpansionTooLargeError as error:
        raise ConfigError([f"Failed to read config file '{path}': {error}"]) from error
    if expansion.missing:
        missing = "Environment variable '{}' not set and no default provided ({}:{})"
        raise ConfigError([missing.format(printable(name), path, line) for name, line in expansion.missing])
    return expansion


def _parse(path: Path, expansion: Expansion) -> "Document":
    from .document import DocumentError, parse_document  # ruamel, which a start without a file need not load

    try:
        return parse_document(expansion.text)
    except DocumentError as error:
        where = f"{path}:{expansion.source_line(error.mark.line)}: " if error.mark else ""
        column = f" (column {error.mark.column})" if error.mark else ""
        raise ConfigError([f"Failed to parse config file '{path}': {where}{error}{column}"]) from error
