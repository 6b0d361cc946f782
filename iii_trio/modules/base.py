"""The public face for other people's modules: phases, adapters, and what a trigger type needs (config-cli-modules 9)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import attrs
import trio

from iii_trio.kernel import Trigger as KernelTrigger
from iii_trio.protocol import Json
from iii_trio.protocol.errors import ConfigError

from .catalogue import CATALOGUE, AdapterFactory

if TYPE_CHECKING:
    from .module_engine import ModuleEngine


@attrs.frozen
class Trigger:
    """A trigger as a registrator sees it."""

    id: str
    trigger_type: str
    function_id: str
    config: Json
    worker_id: str | None = None
    metadata: Json = None

    @classmethod
    def of(cls, trigger: KernelTrigger) -> Self:
        """The public view of a trigger of the kernel."""
        return cls(
            trigger.id,
            trigger.trigger_type,
            trigger.function_id,
            trigger.config.value,
            trigger.registrant.id if trigger.registrant else None,
            trigger.metadata.value if trigger.metadata else None,
        )


class TriggerRegistrator(Protocol):
    """Serves the triggers of one type. Calls come one at a time, in the order of the registrations."""

    async def register_trigger(self, trigger: Trigger) -> None:
        """Activate a trigger; an exception refuses it, and its text goes to the worker that registered it."""
        ...

    async def unregister_trigger(self, trigger: Trigger) -> None:
        """Deactivate a trigger."""
        ...


@attrs.frozen
class TriggerType:
    """A trigger type that a module provides. Formats are JSON Schemas for listings."""

    id: str
    registrator: TriggerRegistrator
    description: str = ""
    trigger_request_format: Json = None
    call_request_format: Json = None


class Module(ABC):
    """A unit inside the engine, run in phases and restarted when it crashes (config-cli-modules 2.1, 9.1).

    `create`, `initialize`, `register_functions` run in this order before the engine is ready; an exception there fails
    the start. `start_background_tasks` follows when every module is up: an exception from the call is a warning, one
    from a task started in its nursery is a crash, after which a fresh object goes through all phases again.
    `destroy` runs at the end, within two seconds; all modules are destroyed even if one raises.
    """

    @abstractmethod
    def name(self) -> str:
        """The name shown in lists and logs."""

    @classmethod
    @abstractmethod
    async def create(cls, engine: "ModuleEngine", config: Mapping[str, Any] | None) -> Self:
        """Check `config` and build the module; adapters may connect here."""

    @abstractmethod
    async def initialize(self) -> None:
        """Register trigger types, open listeners."""

    async def register_functions(self, engine: "ModuleEngine") -> None:  # noqa: B027  # optional
        """Register functions and services."""

    async def start_background_tasks(self, shutdown: trio.Event, nursery: trio.Nursery) -> None:  # noqa: B027  # optional
        """Start what runs for long in `nursery`; `shutdown` is set when the module is to stop."""

    async def destroy(self) -> None:  # noqa: B027  # optional
        """Stop, flush, close."""


@attrs.frozen
class AdapterEntry:
    """Which adapter an entry wants, and its options."""

    name: str
    config: Mapping[str, Any] | None = None


class ConfigurableModule(Module):
    """A module with a typed configuration and a backend chosen by name (config-cli-modules 9.3).

    `Config` is an attrs class; a key it does not have is refused. The key `adapter` (`{name|class, config}`) chooses
    among the adapters registered for the class; without it `DEFAULT_ADAPTER_CLASS` is taken.
    """

    Config: ClassVar[type[Any]]
    Adapter: ClassVar[type[Any]] = object
    DEFAULT_ADAPTER_CLASS: ClassVar[str]

    @classmethod
    @abstractmethod
    def build(cls, engine: "ModuleEngine", config: Any, adapter: Any) -> Self:
        """Make the module of its parsed configuration and its adapter."""

    @classmethod
    def add_adapter(cls, name: str, factory: AdapterFactory) -> None:
        """Register an adapter of this class for every engine built from now on."""
        CATALOGUE.add_adapter(cls, name, factory)

    @classmethod
    def adapter_class_from_config(cls, config: Mapping[str, Any] | None) -> str | None:
        """The adapter name an entry gives, if any."""
        entry = cls._adapter_entry(config)
        return entry.name if entry else None

    @classmethod
    def adapter_config_from_config(cls, config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The options an entry gives its adapter, if any."""
        entry = cls._adapter_entry(config)
        return entry.config if entry else None

    @classmethod
    def _adapter_entry(cls, config: Mapping[str, Any] | None) -> AdapterEntry | None:
        entry = (config or {}).get("adapter")
        if entry is None:
            return None
        name = entry.get("name", entry.get("class")) if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            raise ConfigError("adapter: expected {name: <adapter>, config: {...}}")
        return AdapterEntry(name, entry.get("config"))

    @classmethod
    async def create(cls, engine: "ModuleEngine", config: Mapping[str, Any] | None) -> Self:
        return await cls.create_with_adapters(engine, config)

    @classmethod
    async def create_with_adapters(cls, engine: "ModuleEngine", config: Mapping[str, Any] | None) -> Self:
        """Parse the configuration, make the adapter, build the module. Raises ConfigError naming key and module."""
        parsed = cls._parse(config)
        name = cls.adapter_class_from_config(config) or cls.DEFAULT_ADAPTER_CLASS
        adapter = await engine.create_adapter(cls, name, cls.adapter_config_from_config(config))
        return cls.build(engine, parsed, adapter)

    @classmethod
    def _parse(cls, config: Mapping[str, Any] | None) -> Any:
        """Make `Config` of the entry's keys. Raises ConfigError."""
        import cattrs

        keys = {key: value for key, value in (config or {}).items() if key != "adapter"}
        converter = cattrs.Converter(forbid_extra_keys=True)
        try:
            return converter.structure(keys, cls.Config)
        except cattrs.BaseValidationError as errors:
            raise ConfigError(cattrs.transform_error(errors, path="config")) from errors
