"""What a configuration comes to: the engine's settings, its module entries and its worker listeners."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs

from iii_trio.protocol.patterns import match_argument

from .names import OBSERVABILITY, OLD_WORKER_CLASS, WORKER_MANAGER

DEFAULT_PORT: Final = 49134
DEFAULT_NAMESPACE_GRACE_MS: Final = 5000


def _not_empty(_instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not value:
        raise ValueError(f"`{attribute.name}` is empty")


@attrs.frozen
class FunctionFilter:
    """Which functions workers of a listener may call: by id or by metadata, in one namespace (wire-protocol 11.5)."""

    match: str | None = attrs.field(
        default=None,
        metadata={
            "doc": 'Pattern of ids; `*` is any run of characters. The whole entry may be the string `match("...")`.'
        },
    )
    metadata: Mapping[str, Any] | None = attrs.field(
        default=None,
        metadata={
            "doc": 'What the function\'s metadata must hold, key by key: a value, or `match("...")` for a string.'
        },
    )
    namespace: str | None = attrs.field(
        default=None, metadata={"doc": "The namespace the entry is about; absent: `default`."}
    )

    def __attrs_post_init__(self) -> None:
        if (self.match is None) == (self.metadata is None):
            raise ValueError("give `match` or `metadata`" + ("" if self.match is None else ", not both"))
        if self.metadata is not None and not self.metadata:
            raise ValueError("`metadata` is empty: it would expose every function")
        if self.namespace is not None and not self.namespace.strip():
            raise ValueError("`namespace` is blank")

    @classmethod
    def from_text(cls, text: str) -> "FunctionFilter":
        """An entry written as a string. Raises ValueError unless it is `match("...")`."""
        pattern = match_argument(text)
        if pattern is None:
            raise ValueError(f'invalid filter {json.dumps(text, ensure_ascii=False)}, expected match("<pattern>")')
        return cls(pattern)


@attrs.frozen
class RbacConfig:
    """Who may connect to a listener, and what its workers may call and register (wire-protocol 11.3)."""

    auth_function_id: str | None = attrs.field(
        default=None, metadata={"doc": "Function that admits or refuses each connection of this port."}
    )
    expose_functions: tuple[FunctionFilter, ...] = attrs.field(
        default=(),
        metadata={"doc": "Functions workers of this port may call, by any of these; none: infrastructure only."},
    )
    on_function_registration_function_id: str | None = attrs.field(
        default=None, metadata={"doc": "Function asked before a function is registered."}
    )
    on_trigger_registration_function_id: str | None = attrs.field(
        default=None, metadata={"doc": "Function asked before a trigger is registered."}
    )
    on_trigger_type_registration_function_id: str | None = attrs.field(
        default=None, metadata={"doc": "Function asked before a trigger type is registered."}
    )


@attrs.frozen
class WorkerListenerConfig:
    """One port that workers connect to (config-cli-modules 1.7, wire-protocol 1.2 and 11.1)."""

    port: int = attrs.field(
        default=DEFAULT_PORT,
        metadata={
            "doc": f"TCP port; 0 means {DEFAULT_PORT}. Without it the top-level `port` counts.",
            "minimum": 0,
            "maximum": 65535,
        },
    )
    host: str = attrs.field(
        default="0.0.0.0",  # noqa: S104  # the documented default; the engine warns that the port is public
        validator=_not_empty,
        metadata={"doc": "Interface or host name to bind."},
    )
    middleware_function_id: str | None = attrs.field(
        default=None, metadata={"doc": "Function every invocation from this port goes through."}
    )
    rbac: RbacConfig | None = attrs.field(
        default=None,
        metadata={
            "doc": "Access control of this port; absent: everything is allowed. `{}` exposes nothing, null is refused.",
            "null": "`rbac` is empty: write `rbac: {}` to expose nothing, or leave the key out to allow everything",
        },
    )
    handshake_timeout_ms: int = attrs.field(
        default=10_000,
        metadata={"doc": "A peer that has not finished the WebSocket upgrade by then is closed.", "minimum": 1},
    )
    heartbeat_interval_ms: int = attrs.field(
        default=30_000,
        metadata={
            "doc": "A ping is sent after so long without a byte from the worker; 0 switches it off.",
            "minimum": 0,
        },
    )
    idle_timeout_ms: int = attrs.field(
        default=180_000,
        metadata={"doc": "A connection ends after so long without a byte from it; 0 switches it off.", "minimum": 0},
    )


@attrs.frozen
class NoKeys:
    """The config of an entry that takes none."""


@attrs.frozen
class FileKeys:
    """The top level of a configuration file (config-cli-modules 1.3)."""

    port: int | None = attrs.field(
        default=None,
        metadata={
            "doc": f"Port of worker listeners whose entry names none; absent or 0: {DEFAULT_PORT}.",
            "minimum": 0,
            "maximum": 65535,
        },
    )
    workers: list[Any] | None = attrs.field(
        default=None, metadata={"doc": "Entries, started in order, before `modules`."}
    )
    modules: list[Any] | None = attrs.field(default=None, metadata={"doc": "More entries; the older name of the list."})
    registration_namespace_grace_ms: int = attrs.field(
        default=DEFAULT_NAMESPACE_GRACE_MS,
        metadata={
            "doc": "How long a new connection may take to name its namespace before it is put in `default`. "
            "The variable `III_NAMESPACE_GRACE_MS` wins.",
            "minimum": 0,
        },
    )


@attrs.frozen
class AdapterEntry:
    """The adapter an entry chooses: its name in the catalogue, the name as written, and its options."""

    name: str
    written: str
    config: Mapping[str, Any] | None = None
    options: Any = attrs.field(default=None, eq=False)  # made of `config`; `None` if the catalogue names no class


@attrs.frozen
class ModuleEntry:
    """One module to start.

    Two entries are equal if they mean the same module with the same config, wherever in a file they stand: that is
    what a reload compares (config-cli-modules 4.2).
    """

    module: str  # canonical (`iii-http`), or the name a module of someone else was registered with
    written: str = attrs.field(eq=False)  # as in the file
    instance: str  # `module`, with `#1`, `#2`, ... for further entries of the same module
    config: Mapping[str, Any] | None = None  # as in the file, with the key `adapter`; absent and null are `None`
    options: Any = attrs.field(default=None, eq=False)  # made of `config`; `None` if the catalogue names no class
    adapter: AdapterEntry | None = None  # `None` leaves the choice to the module
    key: str = attrs.field(default="", eq=False)  # `workers[3]`; empty if the entry is in no file
    location: str = attrs.field(default="", eq=False)  # `config.yaml:12`
    # `config.port` to its line
    lines: Mapping[str, int] = attrs.field(default=MappingProxyType({}), eq=False, repr=False)

    @property
    def is_listener(self) -> bool:
        """Whether the entry declares a worker listener; the old module entry does not."""
        return self.module == WORKER_MANAGER and self.written != OLD_WORKER_CLASS


@attrs.frozen
class Settings:
    """What `load_settings` makes of a file, `default_settings` of nothing, and `build_settings` of an object."""

    entries: tuple[ModuleEntry, ...] = ()  # to start, in order, those that always start included
    port: int | None = None  # of the top level
    registration_namespace_grace_ms: int = DEFAULT_NAMESPACE_GRACE_MS
    path: Path | None = None
    unbuilt: tuple[ModuleEntry, ...] = ()  # built-in modules the catalogue does not have: not started, keys unchecked
    warnings: tuple[str, ...] = ()  # for the log, each naming its place

    def listeners(self) -> tuple[WorkerListenerConfig, ...]:
        """The worker listeners to open, the engine's main one first; without an entry there is one of defaults.

        A port of the entry's own counts more than the top-level one. 0 is the default port here: an ephemeral port can
        only be asked for in code or on the command line.
        """
        listeners = tuple(self._listener(entry) for entry in self.entries if entry.is_listener)
        return listeners or (WorkerListenerConfig(port=self.port or DEFAULT_PORT),)

    def hosts_not_given(self) -> tuple[WorkerListenerConfig, ...]:
        """Those of `listeners()` that bind every interface only because the file names none: worth a warning."""
        declared = [entry for entry in self.entries if entry.is_listener]
        if not declared:
            return self.listeners()
        return tuple(self._listener(entry) for entry in declared if "host" not in (entry.config or {}))

    def log_config(self) -> Mapping[str, Any]:
        """The config of the observability entry, which says how the engine logs even where the module is not built."""
        entries = (*self.entries, *self.unbuilt)
        return next((entry.config or {} for entry in entries if entry.module == OBSERVABILITY), {})

    def _listener(self, entry: ModuleEntry) -> WorkerListenerConfig:
        assert isinstance(entry.options, WorkerListenerConfig)
        port = entry.options.port if "port" in (entry.config or {}) else self.port
        return attrs.evolve(entry.options, port=port or DEFAULT_PORT)
