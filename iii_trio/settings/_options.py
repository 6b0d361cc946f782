"""The `config` of each entry: checked against the class the catalogue names for its module and its adapter."""

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from ._entries import Listed, read_identity
from ._problems import Problems
from .catalogue import Catalogue
from .messages import invalid_type, printable, unknown_field
from .model import AdapterEntry, ModuleEntry, NoKeys, WorkerListenerConfig
from .names import ENGINE_FUNCTIONS, OLD_WORKER_CLASS, WORKER_MANAGER, Accepts, find_module
from .source import KeyPath, key_text
from .structure import Problem, try_structure

_ADAPTER_KEYS: Final = ("name", "class", "config")


@attrs.frozen
class OptionsReader:
    """Makes typed options of what entries say, or reports why not (config-cli-modules 1.4)."""

    catalogue: Catalogue
    problems: Problems

    def entry(self, listed: Listed, instance: str, lines: Mapping[str, int]) -> ModuleEntry:
        """The module entry of what is listed; with problems reported, its options are incomplete."""
        options, adapter = self._options(listed)
        return attrs.evolve(self.unchecked(listed, instance, lines), options=options, adapter=adapter)

    def unchecked(self, listed: Listed, instance: str, lines: Mapping[str, int]) -> ModuleEntry:
        """The module entry of what is listed, its keys not looked at."""
        return ModuleEntry(
            module=listed.module,
            written=listed.written,
            instance=instance,
            config=listed.config,
            key=key_text(listed.key),
            location=self.problems.source.location(listed.key),
            lines=lines,
        )

    def unlisted(self, module: str) -> ModuleEntry:
        """The entry of a module of the catalogue that starts although nobody lists it."""
        options, adapter = self._options(Listed((), module, module, find_module(module), None))
        return ModuleEntry(module, module, module, options=options, adapter=adapter)

    def _options(self, listed: Listed) -> tuple[Any, AdapterEntry | None]:
        config = dict(listed.config or {})
        adapter = self._adapter(listed, config.pop("adapter", None)) if self._has_adapters(listed) else None
        return self._structure(listed, (), self._class(listed), config), adapter

    def _has_adapters(self, listed: Listed) -> bool:
        return listed.module in self.catalogue.adapters

    def _class(self, listed: Listed) -> type[Any] | None:
        if listed.written == OLD_WORKER_CLASS or listed.module == ENGINE_FUNCTIONS:
            return NoKeys
        return WorkerListenerConfig if listed.module == WORKER_MANAGER else self.catalogue.modules[listed.module]

    def _structure(self, listed: Listed, below: KeyPath, cls: type[Any] | None, values: Mapping[str, Any]) -> Any:
        if cls is None:
            return None
        also_known = ("adapter",) if self._has_adapters(listed) and not below else ()
        made, found = try_structure(cls, values, also_known)
        if unknown := [problem for problem in found if problem.unknown is not None and self._only_warns(listed)]:
            self._warn(listed, unknown)
            made, found = try_structure(cls, _without(values, unknown), also_known)
        for problem in found:
            self._report(listed, (*below, *problem.place), problem.message)
        return made

    def _only_warns(self, listed: Listed) -> bool:
        return listed.names is not None and listed.names.accepts is Accepts.WARN

    def _warn(self, listed: Listed, unknown: Iterable[Problem]) -> None:
        for problem in unknown:
            self.problems.warn((*listed.key, "config", *problem.place), f"{problem.message}; the key is ignored")

    def _report(self, listed: Listed, below: KeyPath, message: str) -> None:
        self.problems.module(listed.written, (*listed.key, "config", *below) if listed.key else (), message)

    def _adapter(self, listed: Listed, given: Any) -> AdapterEntry | None:
        if given is None:
            name = self.catalogue.default_adapter(listed.module)
            return self._adapter_entry(listed, name, name, None) if name else None
        if not isinstance(given, Mapping):
            self._report(listed, ("adapter",), invalid_type(given, "a mapping with `name`"))
            return None
        written = self._adapter_identity(listed, given)
        if written is None:
            return None
        name = self.catalogue.adapter(listed.module, written)
        if name is None:
            available = json.dumps(sorted(self.catalogue.adapters[listed.module]))
            message = f"Adapter factory '{printable(written)}' not found. Available: {available}"
            self._report(listed, ("adapter",), message)
            return None
        return self._adapter_entry(listed, name, written, given.get("config"))

    def _adapter_identity(self, listed: Listed, given: Mapping[str, Any]) -> str | None:
        unknown = [key for key in given if key not in _ADAPTER_KEYS]
        for key in unknown:
            self._report(listed, ("adapter", key), unknown_field(key, _ADAPTER_KEYS))
        return read_identity(
            given,
            missing="missing field `name`",
            same=lambda one, other: self._same_adapter(listed.module, one, other),
            report=lambda below, message: self._report(listed, ("adapter", *below), message),
        )

    def _same_adapter(self, module: str, one: str, other: str) -> bool:
        name = self.catalogue.adapter(module, one)
        return name is not None and name == self.catalogue.adapter(module, other)

    def _adapter_entry(self, listed: Listed, name: str, written: str, config: Any) -> AdapterEntry | None:
        if config is not None and not isinstance(config, Mapping):
            self._report(listed, ("adapter", "config"), invalid_type(config, "a mapping"))
            return None
        cls = self.catalogue.adapters[listed.module][name]
        options = self._structure(listed, ("adapter", "config"), cls, config or {})
        return AdapterEntry(name, written, config, options)


def _without(values: Mapping[str, Any], unknown: Iterable[Problem]) -> Mapping[str, Any]:
    left = copy.deepcopy(dict(values))
    for problem in unknown:
        inside: Any = left
        for step in problem.key:
            inside = inside[step]
        del inside[problem.unknown]
    return left
