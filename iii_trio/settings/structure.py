"""Plain values to the attrs classes of the modules: strict, every problem at once (config-cli-modules 1.4).

Config classes are plain attrs classes, so that a module needs nothing from here. A field's `metadata` says

  * `doc` (required): one line for docs/config.md;
  * `minimum`, `maximum`: the bounds of a number, both included;
  * `null`: why null is refused, where it may be mistaken for something else than leaving the key out.

A class with a class method `from_text` may also be written as a string.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import attrs

from iii_trio.protocol.errors import ConfigError

from .source import KeyPath, key_text

T = TypeVar("T")


@attrs.frozen
class Problem:
    """One thing that is wrong with a value: where below the structured value, and what.

    `unknown` names the key if the problem is that nobody reads it.
    """

    key: KeyPath
    message: str
    unknown: str | None = None

    @property
    def place(self) -> KeyPath:
        """The key path to point at: the unknown key itself, not what it is in."""
        return self.key if self.unknown is None else (*self.key, self.unknown)


def structure_config(cls: type[T], mapping: Mapping[str, Any]) -> T:
    """Make `cls` of a mapping, for callers without a file; what a file holds goes through `load_settings`.

    Unknown keys are refused and nothing is coerced, except a string of digits where an integer is expected.

    Raises:
      ConfigError: with every problem, each as `key.path: message`.

    """
    value, problems = try_structure(cls, mapping)
    if problems:
        raise ConfigError([f"{key_text(problem.place) or cls.__name__}: {problem.message}" for problem in problems])
    assert value is not None
    return value


def try_structure(
    cls: type[T], mapping: Mapping[str, Any], also_known: Sequence[str] = ()
) -> tuple[T | None, tuple[Problem, ...]]:
    """Make `cls` of a mapping, or say everything that is wrong with it.

    `also_known` are keys somebody else reads: they are not in `mapping` and only named to the author of a wrong key.
    """
    if not mapping and not _required(cls):
        return cls(), ()
    from ._converter import structure  # cattrs costs start-up time that a start without a file need not pay

    return structure(cls, mapping, also_known)


def _required(cls: type[Any]) -> bool:
    return any(field.init and field.default is attrs.NOTHING for field in attrs.fields(cls))
