"""From plain values to `Settings`: both vocabularies, every problem at once (config-cli-modules 1.3 to 1.6 and 12)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs

from ._entries import EntryReader, Listed
from ._options import OptionsReader
from ._problems import Problems
from .catalogue import Catalogue
from .messages import invalid_type
from .model import DEFAULT_NAMESPACE_GRACE_MS, FileKeys, ModuleEntry, Settings, WorkerListenerConfig
from .names import ENGINE_FUNCTIONS, MODULES, WORKER_MANAGER, Accepts, Starts
from .source import Source
from .structure import try_structure

NAMESPACE_GRACE_VARIABLE: Final = "III_NAMESPACE_GRACE_MS"
LOOPBACK: Final = "127.0.0.1"

_CORE: Final = frozenset({WORKER_MANAGER, ENGINE_FUNCTIONS})  # every engine has them, whatever its catalogue
_NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})


def build_settings(
    document: Mapping[str, Any],
    catalogue: Catalogue,
    *,
    env: Mapping[str, str] = _NO_VARIABLES,
    source: Source | None = None,
    path: Path | None = None,
) -> Settings:
    """Check a whole configuration and make `Settings` of it: the object form of `load_settings`.

    `document` has the keys of a configuration file; of `env` only `III_NAMESPACE_GRACE_MS` counts. `source` says where
    each value stands, for the messages. Modules that always start are appended if the catalogue has them.

    Raises:
      ConfigError: with every problem there is.

    """
    problems = Problems(source or Source(), path)
    keys = _file_keys(document, problems)
    listed = EntryReader(catalogue, problems).read({name: _entries(document, name) for name in ("workers", "modules")})
    grace_ms = _namespace_grace_ms(keys, env, problems)
    entries, unbuilt = _make_entries(listed, catalogue, problems)
    problems.raise_any()
    return Settings(
        entries=entries,
        port=keys.port,
        registration_namespace_grace_ms=grace_ms,
        path=path,
        unbuilt=unbuilt,
        warnings=tuple(problems.warnings),
    )


def default_settings(catalogue: Catalogue, env: Mapping[str, str] = _NO_VARIABLES) -> Settings:
    """What an engine without a configuration file starts: the default modules of the catalogue, on loopback only (1.6).

    Raises:
      ConfigError: `III_NAMESPACE_GRACE_MS` in `env` is no number of milliseconds.

    """
    problems = Problems(Source())
    grace_ms = _namespace_grace_ms(FileKeys(), env, problems)
    entries = tuple(_default_entries(catalogue, OptionsReader(catalogue, problems)))
    problems.raise_any()
    return Settings(entries=entries, registration_namespace_grace_ms=grace_ms)


def _default_entries(catalogue: Catalogue, options: OptionsReader) -> Iterator[ModuleEntry]:
    yield ModuleEntry(
        WORKER_MANAGER,
        WORKER_MANAGER,
        WORKER_MANAGER,
        config={"host": LOOPBACK},
        options=WorkerListenerConfig(host=LOOPBACK),
    )
    for names in MODULES:
        if names.starts is not Starts.LISTED and names.name not in _CORE and catalogue.has(names.name):
            yield _on_loopback(options.unlisted(names.name))


def _on_loopback(entry: ModuleEntry) -> ModuleEntry:
    if not hasattr(entry.options, "host"):
        return entry
    return attrs.evolve(entry, config={"host": LOOPBACK}, options=attrs.evolve(entry.options, host=LOOPBACK))


def _file_keys(document: Mapping[str, Any], problems: Problems) -> FileKeys:
    keys, found = try_structure(FileKeys, document)
    for problem in found:
        problems.shape(problem.place, problem.message)
    return keys or FileKeys()


def _entries(document: Mapping[str, Any], name: str) -> Sequence[Any]:
    entries = document.get(name)
    return entries if isinstance(entries, (list, tuple)) else ()


def _namespace_grace_ms(keys: FileKeys, env: Mapping[str, str], problems: Problems) -> int:
    given = env.get(NAMESPACE_GRACE_VARIABLE, "")
    if not given:
        return keys.registration_namespace_grace_ms
    if given.isascii() and given.isdigit() and len(given) < 16:
        return int(given)
    problems.other(f"{NAMESPACE_GRACE_VARIABLE}: {invalid_type(given, 'a number of milliseconds')}")
    return DEFAULT_NAMESPACE_GRACE_MS


def _make_entries(
    listed: Sequence[Listed], catalogue: Catalogue, problems: Problems
) -> tuple[tuple[ModuleEntry, ...], tuple[ModuleEntry, ...]]:
    options = OptionsReader(catalogue, problems)
    lines = problems.source.lines_below(2)
    entries: list[ModuleEntry] = []
    unbuilt: list[ModuleEntry] = []
    for entry, instance in _instances(_taking_part(listed, problems)):
        place = lines.get(entry.key, {})
        if entry.module in _CORE or catalogue.has(entry.module):
            entries.append(options.entry(entry, instance, place))
        else:
            unbuilt.append(options.unchecked(entry, instance, place))
    entries += (options.unlisted(name) for name in _always_started(entries, catalogue))
    return tuple(entries), tuple(unbuilt)


def _taking_part(listed: Iterable[Listed], problems: Problems) -> Iterator[Listed]:
    for entry in listed:
        accepts = entry.names.accepts if entry.names else Accepts.KNOWN_KEYS
        if accepts is Accepts.NOTHING_DONE_WARN:
            problems.warn(entry.key, f"'{entry.written}' no longer exists; the entry is ignored")
        elif accepts is not Accepts.NOTHING_DONE:
            yield entry


def _instances(listed: Iterable[Listed]) -> Iterator[tuple[Listed, str]]:
    seen: Counter[str] = Counter()
    for entry in listed:
        earlier = seen[entry.module]
        seen[entry.module] += 1
        yield entry, f"{entry.module}#{earlier}" if earlier else entry.module


def _always_started(entries: Iterable[ModuleEntry], catalogue: Catalogue) -> Iterator[str]:
    present = {entry.module for entry in entries}
    for names in MODULES:
        if names.starts is Starts.ALWAYS and names.name not in _CORE | present and catalogue.has(names.name):
            yield names.name
