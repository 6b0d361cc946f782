"""The entries of `workers` and `modules`: which module each means, and which may not stand beside each other."""

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import attrs

from ._problems import Problems
from .catalogue import Catalogue
from .messages import invalid_type
from .names import MODULES, ModuleNames
from .source import KeyPath


@attrs.frozen
class Listed:
    """One entry of a file whose module is known."""

    key: KeyPath
    written: str
    module: str
    names: ModuleNames | None  # `None`: registered by someone else
    config: Mapping[str, Any] | None


@attrs.frozen
class EntryReader:
    """Reads both lists of entries in both vocabularies (config-cli-modules 1.3)."""

    catalogue: Catalogue
    problems: Problems

    def read(self, lists: Mapping[str, Sequence[Any]]) -> tuple[Listed, ...]:
        """Every entry of the named lists, in order; those with problems are reported and left out."""
        listed = tuple(
            entry
            for name, entries in lists.items()
            for index, item in enumerate(entries)
            if (entry := self._entry((name, index), item)) is not None
        )
        pairs = self._refuse_pairs(listed)
        self._refuse_second_instances([entry for entry in listed if entry.names not in pairs])
        return listed

    def _entry(self, key: KeyPath, item: Any) -> Listed | None:
        if not isinstance(item, Mapping):
            self.problems.shape(key, invalid_type(item, "a mapping with `name`"))
            return None
        written = self._identity(key, item)
        if written is None:
            return None
        names = self.catalogue.names(written)
        has_image = item.get("image") is not None
        if has_image:
            message = "`image` is not supported: this engine starts no containers. Remove `image` or the entry."
            self.problems.module(written, (*key, "image"), message)
        if names is None and not self.catalogue.has(written):
            if not has_image:  # then the name is that of a container, and all is said
                self.problems.module(written, key, f"Unknown module class: {written}{self._meant(written)}")
            return None
        config = item.get("config")
        if config is not None and not isinstance(config, Mapping):
            self.problems.module(written, (*key, "config"), invalid_type(config, "a mapping"))
            return None
        return Listed(key, written, names.name if names else written, names, config)

    def _meant(self, written: str) -> str:
        """The name that was probably meant, as the end of a message."""
        known = set(self.catalogue.modules).union(
            *((module.name, *module.aliases, *module.classes) for module in MODULES)
        )
        close = get_close_matches(written, sorted(known), n=1, cutoff=0.8)
        return f" (did you mean `{close[0]}`?)" if close else ""

    def _identity(self, key: KeyPath, item: Mapping[str, Any]) -> str | None:
        missing = "missing field `name`"
        if mark := self.problems.source.mark(key):
            missing += f" at line {mark.line} column {mark.column}"
        return read_identity(
            item,
            missing=missing,
            same=lambda one, other: self.catalogue.names(one) == self.catalogue.names(other) is not None,
            report=lambda below, message: self.problems.shape((*key, *below), message),
        )

    def _refuse_pairs(self, listed: Sequence[Listed]) -> list[ModuleNames]:
        pairs = [names for names in MODULES if names.replaced_by and _both_written(names, listed)]
        if pairs:
            lines = [self._pair_line(names, listed) for names in pairs]
            self.problems.other("\n".join(["Duplicate worker configurations:", *lines]), listed[0].key)
        return pairs

    def _pair_line(self, names: ModuleNames, listed: Sequence[Listed]) -> str:
        places = ", ".join(self.problems.source.location(entry.key) for entry in listed if entry.names == names)
        return (
            f"- '{names.name}' is the deprecated name for '{names.replaced_by}', but both are present. "
            f"Remove '{names.name}' from your configuration ({places})."
        )

    def _refuse_second_instances(self, listed: Sequence[Listed]) -> None:
        first: dict[str, Listed] = {}
        for entry in listed:
            earlier = first.setdefault(entry.module, entry)
            if entry.names and (entry.names.binds_port or entry.names.is_single) and earlier is not entry:
                where = self.problems.source.problem(earlier.key, f"'{earlier.written}'")
                why = "one instance holds its port" if entry.names.binds_port else "one instance serves all"
                message = f"{entry.module} is listed more than once (first at {where}) and {why}"
                self.problems.module(entry.written, entry.key, message)


def _both_written(names: ModuleNames, listed: Sequence[Listed]) -> bool:
    return {names.name, names.replaced_by} <= {entry.written for entry in listed if entry.names == names}


def read_identity(
    item: Mapping[str, Any],
    *,
    missing: str,
    same: Callable[[str, str], bool],
    report: Callable[[KeyPath, str], None],
) -> str | None:
    """What an entry is called by `name` or `class`, of a module or of an adapter; `None` once a problem is reported.

    Both keys may be there if they mean the same, as `same` tells.
    """
    given = {key: item[key] for key in ("name", "class") if item.get(key) is not None}
    wrong = {key: value for key, value in given.items() if not isinstance(value, str)}
    for key, value in wrong.items():
        report((key,), invalid_type(value, "a string"))
    if wrong:
        return None
    if not given:
        report((), missing)
        return None
    written = list(given.values())
    if len(set(written)) > 1 and not same(*written):
        report((), f"`name` {json.dumps(written[0])} and `class` {json.dumps(written[1])} mean different things")
        return None
    return str(written[0])
