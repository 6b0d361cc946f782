"""Modules and adapters by name: the append-only catalogue behind `@register_module` and `@register_adapter`.

Every engine copies it when it is built; nothing else in the package is global and mutable (style guide, Layout).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from .base import Module
    from .module_engine import ModuleEngine

_log = logging.getLogger("iii_trio.modules")
ModuleClass = TypeVar("ModuleClass", bound="type[Module]")
AdapterFactory = Callable[["ModuleEngine", Mapping[str, Any] | None], Awaitable[Any]]
Factory = TypeVar("Factory", bound=AdapterFactory)


@attrs.frozen
class ModuleRegistration:
    """A module class under a name. `default` ones start without a file, `mandatory` ones always."""

    name: str
    cls: "type[Module]"
    default: bool = False
    mandatory: bool = False


@attrs.define
class ModuleCatalogue:
    """Registered modules by name, adapters by module class and name."""

    modules: dict[str, ModuleRegistration] = attrs.field(factory=dict)
    adapters: dict["type[Module]", dict[str, AdapterFactory]] = attrs.field(factory=dict)

    def copy(self) -> "ModuleCatalogue":
        """A snapshot that later registrations do not change."""
        return ModuleCatalogue(dict(self.modules), {cls: dict(names) for cls, names in self.adapters.items()})

    def add_module(self, registration: ModuleRegistration) -> None:
        """Enter a module; a later one of the same name replaces it, with a warning."""
        if registration.name in self.modules:
            _log.warning("module %s is registered again; the later class counts", registration.name)
        self.modules[registration.name] = registration

    def add_adapter(self, cls: "type[Module]", name: str, factory: AdapterFactory) -> None:
        """Enter an adapter of a module class; a later one of the same name replaces it, with a warning."""
        names = self.adapters.setdefault(cls, {})
        if name in names:
            _log.warning("adapter %s of %s is registered again; the later factory counts", name, cls.__name__)
        names[name] = factory

    def adapters_of(self, cls: "type[Module]") -> dict[str, AdapterFactory]:
        """The adapters of a module class and of the classes it derives from."""
        found: dict[str, AdapterFactory] = {}
        for base in reversed(cls.__mro__):
            found.update(self.adapters.get(base, {}))
        return found


CATALOGUE = ModuleCatalogue()


def register_module(
    name: str, *, default: bool = False, mandatory: bool = False
) -> Callable[[ModuleClass], ModuleClass]:
    """Make a `Module` class usable in configuration files and builders under `name` (config-cli-modules 9.1).

    Args:
      name: what files say, e.g. `my::Greeter`.
      default: start it when there is no configuration file.
      mandatory: start it always.
    """

    def register(cls: ModuleClass) -> ModuleClass:
        CATALOGUE.add_module(ModuleRegistration(name, cls, default, mandatory))
        return cls

    return register


def register_adapter(cls: "type[Module]", name: str) -> Callable[[Factory], Factory]:
    """Make a factory `async (engine, config) -> adapter` an adapter of a `ConfigurableModule` class."""

    def register(factory: Factory) -> Factory:
        CATALOGUE.add_adapter(cls, name, factory)
        return factory

    return register
