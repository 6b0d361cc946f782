"""Wires the configuration module: where its values are kept, how variables get into them, and who reads settings there."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from iii_trio import __version__
from iii_trio.kernel import ModuleOwner
from iii_trio.modules import RunningModule
from iii_trio.modules.configuration import ConfigurationConfig, ConfigurationModule, FsConfig, MemoryConfig, OpenAdapter
from iii_trio.modules.http import HttpConfig
from iii_trio.modules.http.entry import http_entry
from iii_trio.modules.live_config import LiveConfig
from iii_trio.settings import AdapterEntry, ModuleEntry, Settings, json_schema, structure_config
from iii_trio.settings.names import CONFIGURATION, HTTP

ADAPTERS: Final[Mapping[str, type[Any]]] = {"fs": FsConfig, "memory": MemoryConfig}
_LONGEST_TEXT: Final = 256 * 1024


def configuration_maker(entry: ModuleEntry, environment: Mapping[str, str]) -> Callable[[ModuleOwner], RunningModule]:
    """How to build an incarnation of the configuration module; what is kept in memory outlives it."""
    options = entry.options or ConfigurationConfig()
    opener: list[OpenAdapter] = []

    def make(owner: ModuleOwner) -> RunningModule:
        if not opener:
            opener.append(open_adapter(entry.adapter))
        return ConfigurationModule(options, owner, opener[0], partial(_expand, environment))

    return make


def open_adapter(adapter: AdapterEntry | None) -> OpenAdapter:
    """How to open the adapter that an entry of the configuration module chooses."""
    from iii_trio.modules.configuration.adapters.fs import open_fs
    from iii_trio.modules.configuration.adapters.memory import MemoryConfiguration

    if adapter is not None and adapter.name == "memory":
        return MemoryConfiguration().open
    return partial(open_fs, adapter.options if adapter else FsConfig(), _parse)


def _parse(text: str) -> dict[str, Any]:
    from iii_trio.settings.document import parse_document  # ruamel costs start-up time

    return parse_document(text).values


def _expand(environment: Mapping[str, str], text: str) -> tuple[str, list[str]]:
    from iii_trio.settings.expand import ExpansionTooLargeError, expand

    try:
        done = expand(text, environment, __version__, limit=_LONGEST_TEXT)
    except ExpansionTooLargeError as error:
        return text, [str(error)]
    return done.text, [f"Environment variable '{name}' not set and no default provided" for name, _ in done.missing]


def in_memory(settings: Settings) -> Settings:
    """Settings of an engine without a file: unless an entry says otherwise, it leaves none behind."""
    config = {"adapter": {"name": "memory"}}
    entries = (
        attrs.evolve(entry, config=config, adapter=AdapterEntry("memory", "memory", options=MemoryConfig()))
        if entry.module == CONFIGURATION and not entry.key
        else entry
        for entry in settings.entries
    )
    return attrs.evolve(settings, entries=tuple(entries))


def live_http(entry: ModuleEntry) -> LiveConfig[HttpConfig]:
    """The configuration entry of the http module that an entry of the settings starts."""
    return http_entry(entry.options, entry.config, json_schema(HttpConfig), partial(structure_config, HttpConfig))


LIVE: Final[Mapping[str, Callable[[ModuleEntry], LiveConfig[Any]]]] = {HTTP: live_http}
"""The built-in modules that take their settings from a configuration entry."""
