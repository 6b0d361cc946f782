"""Collects everything that is wrong with one configuration, so that it is reported at once."""

from pathlib import Path

import attrs

from iii_trio.protocol.errors import ConfigError

from .messages import printable
from .source import KeyPath, Source


@attrs.define
class Problems:
    """The problems and warnings of one configuration, each with its place."""

    source: Source
    path: Path | None = None
    warnings: list[str] = attrs.field(factory=list)
    _found: list[tuple[int, str]] = attrs.field(factory=list)

    def shape(self, key: KeyPath, message: str) -> None:
        """The file is YAML, but no configuration file."""
        self._add(key, f"{self._prefix}{self.source.problem(key, message)}")

    def module(self, written: str, key: KeyPath, message: str) -> None:
        """A module cannot be made of its entry (config-cli-modules 1.4)."""
        name = printable(written)
        self._add(
            key, self.source.problem(key, f"failed to create module '{name}': Failed to create {name}: {message}")
        )

    def other(self, message: str, key: KeyPath = ()) -> None:
        """A problem whose text says itself where it is."""
        self._add(key, message)

    def warn(self, key: KeyPath, message: str) -> None:
        """Something for the log: the engine starts nevertheless."""
        self.warnings.append(self.source.problem(key, message))

    def raise_any(self) -> None:
        """Raise `ConfigError` if there is a problem, with all of them in the order of the file."""
        if self._found:
            raise ConfigError([text for _, text in sorted(self._found, key=lambda found: found[0])])

    @property
    def _prefix(self) -> str:
        return "" if self.path is None else f"Failed to parse config file '{self.path}': "

    def _add(self, key: KeyPath, text: str) -> None:
        mark = self.source.mark(key)
        self._found.append((mark.line if mark else 0, text))
