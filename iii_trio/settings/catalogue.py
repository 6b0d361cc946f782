"""What an engine can start: passed in by the engine, so that the settings know no module (style guide, Layers)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from .names import MODULES, ModuleNames, find_module

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen
class Catalogue:
    """The modules and adapters of one engine, by the names files use.

    `modules` maps a module to the attrs class of its `config`; `None` means that any mapping is passed on unchecked, as
    for modules registered with `@register_module`. Built-in modules stand under their canonical name (`iii-http`), own
    ones under the name they were registered with, which may be one of a built-in module and then replaces it.
    A built-in module that is missing here is not implemented: entries of it are accepted and not started.

    `adapters` maps a module to its adapters, each with the attrs class of its `config` or `None`. Only modules named
    here take the key `adapter`; for all others it is a key of their class like any other.
    """

    modules: Mapping[str, type[Any] | None] = _NONE
    adapters: Mapping[str, Mapping[str, type[Any] | None]] = _NONE

    def has(self, name: str) -> bool:
        """Whether this engine can start the module of that canonical or registered name."""
        return name in self.modules

    def names(self, written: str) -> ModuleNames | None:
        """The built-in module a file calls `written`, unless a registered module has taken the name."""
        return None if written in self.modules and _is_own(written) else find_module(written)

    def adapter(self, module: str, written: str) -> str | None:
        """The name under which `adapters` lists what a file calls `written`; `None` if there is no such adapter."""
        available = self.adapters[module]
        if written in available:
            return written
        names = find_module(module)
        short = names.adapter(written) if names else None
        return short if short in available else None

    def default_adapter(self, module: str) -> str | None:
        """The adapter of a module whose entry names none; `None` leaves the choice to the module."""
        names = find_module(module)
        return names.default_adapter if names and names.default_adapter in self.adapters.get(module, _NONE) else None


def _is_own(name: str) -> bool:
    return all(name != module.name for module in MODULES)
