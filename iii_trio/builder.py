"""`EngineBuilder`: an engine put together step by step in a program of one's own (config-cli-modules 9.4)."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import trio

from .modules import CATALOGUE, ModuleCatalogue, ModuleRegistration
from .protocol.errors import ConfigError
from .settings import ModuleEntry, Settings, build_settings, find_module
from .settings.names import Starts

if TYPE_CHECKING:
    from .engine import Config, Engine
    from .modules import Module

_EVERY_INTERFACE = "0.0.0.0"  # noqa: S104  # the documented default
_HIGHEST_PORT = 65_535


@attrs.define(eq=False)
class EngineBuilder:
    """Chooses configuration, address and modules, then serves until a signal.

    Built-in modules and those of `@register_module` can be named. Without `address` the worker listener is where the
    configuration says: `0.0.0.0:49134`, or 127.0.0.1 with `default_config`. The last configuration given counts.

        engine = await EngineBuilder().add_module("my::Greeter", {"word": "hello"}).address("127.0.0.1:49134").build()
        await engine.serve()

    `build` only checks and constructs. Every phase of the modules runs inside `serve`; what would fail the start of
    the command fails `serve`.
    """

    env: Mapping[str, str] = os.environ
    """For `${VAR}` in configuration files."""

    _config: "Config" = None
    _configured: bool = False
    _listener: tuple[str, int] | None = None
    _registered: list[ModuleRegistration] = attrs.field(factory=list)
    _added: list[dict[str, Any]] = attrs.field(factory=list)
    _engine: "Engine | None" = None
    _spent: bool = False

    # --- choices ----------------------------------------------------------------------------------------------------

    def address(self, address: str) -> Self:
        """Where workers connect, `host:port`, whatever the configuration says; port 0 is an ephemeral one.

        Raises ConfigError for a text that is no address.
        """
        host, colon, port = address.rpartition(":")
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else _HIGHEST_PORT + 1
        if not colon or number > _HIGHEST_PORT:
            raise ConfigError(f"address: expected host:port, got {address!r}")
        self._listener = (host.removeprefix("[").removesuffix("]") or _EVERY_INTERFACE, number)
        return self

    def config_file(self, path: Path | str) -> Self:
        """Take a configuration file; `build` raises if it is missing."""
        return self._configure(Path(path))

    def config_file_or_default(self, path: Path | str) -> Self:
        """Take a configuration file, or the default modules if there is none of that name. Deprecated."""
        warnings.warn("use config_file or default_config", DeprecationWarning, stacklevel=2)
        return self._configure(Path(path) if os.path.lexists(path) else None)

    def default_config(self) -> Self:
        """Take the default modules, on 127.0.0.1 only."""
        return self._configure(None)

    def with_config(self, config: Settings | Mapping[str, Any]) -> Self:
        """Take a configuration as an object: `Settings`, or a mapping with the keys of a file."""
        return self._configure(config)

    def with_config_path(self, path: Path | str) -> Self:
        """Take a configuration file. It is not watched: hot reload is not part of this release."""
        return self._configure(Path(path))

    def _configure(self, config: "Config") -> Self:
        self._config, self._configured = config, True
        return self

    def register_module(self, name: str, cls: "type[Module]") -> Self:
        """Let configurations and `add_module` name a class, for this builder only."""
        self._registered.append(ModuleRegistration(name, cls))
        return self

    def add_module(self, name: str, config: Mapping[str, Any] | None = None) -> Self:
        """Append an entry to the configuration, an empty one if none was given.

        Added to `default_config`, it takes the place of the default entry of the same module.
        """
        self._added.append({"name": name, "config": config})
        return self

    register_worker = register_module
    add_worker = add_module

    # --- the engine -------------------------------------------------------------------------------------------------

    async def build(self) -> Self:
        """Check everything and construct the engine, which holds neither tasks nor connections before `serve`.

        Raises ConfigError: nothing was configured, or what was cannot be used.
        """
        from .engine import build_engine

        if not self._configured and not self._added:
            raise ConfigError(
                "nothing is configured: call default_config, config_file, with_config or add_module first"
            )
        catalogue = CATALOGUE.copy()
        for registration in self._registered:
            catalogue.add_module(registration)
        host, port = self._listener or (None, None)
        self._engine = build_engine(self._settings(catalogue), host=host, port=port, catalogue=catalogue, env=self.env)
        self._spent = False
        return self

    def _settings(self, catalogue: ModuleCatalogue) -> Settings:
        from .engine import resolve_settings

        settings = resolve_settings(self._config if self._configured else {}, catalogue, self.env)
        if not self._added:
            return settings
        from ._configuration import in_memory
        from .composition import settings_catalogue

        given = (
            settings if self._config is not None else _without(settings, {str(entry["name"]) for entry in self._added})
        )
        extended = build_settings(_document(given, self._added), settings_catalogue(catalogue))
        if not self._configured or isinstance(self._config, Mapping):
            extended = in_memory(extended)
        return attrs.evolve(
            extended,
            path=settings.path,
            unbuilt=(*settings.unbuilt, *extended.unbuilt),
            warnings=(*settings.warnings, *extended.warnings),
        )

    def engine_handle(self) -> "Engine":
        """The engine: it takes registrations at once, and calls while `serve` runs (RuntimeError before).

        Raises RuntimeError before `build`.
        """
        if self._engine is None:
            raise RuntimeError("there is no engine yet: await build() first")
        return self._engine

    async def serve(self, *, task_status: "trio.TaskStatus[Engine]" = trio.TASK_STATUS_IGNORED) -> None:
        """Run the engine until SIGINT, SIGTERM, `engine_handle().request_stop()` or cancellation. Once after a `build`.

        Started, with the engine, once everything is up: `engine = await nursery.start(builder.serve)`.

        Raises RuntimeError before `build`, IIIError if the start, a part beyond its restart limits, or the end failed.
        """
        from .serving import serve_engine

        engine = self.engine_handle()
        if self._spent:
            raise RuntimeError("this engine has been served or destroyed: await build() again")
        self._spent = True
        await serve_engine(engine, task_status=task_status)

    async def destroy(self) -> None:
        """Give the engine up without serving it; one that serves is asked to stop. Raises RuntimeError before `build`."""
        self._spent = True
        self.engine_handle().request_stop()


def _document(settings: Settings, added: list[dict[str, Any]]) -> dict[str, Any]:
    """Checked settings and further entries as the document of one configuration.

    What starts although nobody listed it is left out: it will be there again, unless a further entry takes its place.
    """
    listed = [entry for entry in settings.entries if not _goes_without_saying(entry)]
    entries = [{"name": entry.written, "config": entry.config} for entry in listed]
    return {
        "registration_namespace_grace_ms": settings.registration_namespace_grace_ms,
        "workers": [*entries, *added],
        **({"port": settings.port} if settings.port is not None else {}),
    }


def _goes_without_saying(entry: ModuleEntry) -> bool:
    names = find_module(entry.module)
    return names is not None and names.starts is Starts.ALWAYS and not entry.key and entry.config is None


def _without(settings: Settings, names: set[str]) -> Settings:
    """Settings without the entries of modules that go by these names."""
    modules = {found.name if (found := find_module(name)) else name for name in names}
    return attrs.evolve(settings, entries=tuple(entry for entry in settings.entries if entry.module not in modules))
