"""Every name a built-in module or adapter has had, as data, so that files of all eras mean the same (config-cli-modules 1.5)."""

from collections.abc import Iterator
from enum import Enum
from types import MappingProxyType
from typing import Final

import attrs


class Starts(Enum):
    """When a module starts without being listed (config-cli-modules 1.6)."""

    LISTED = "only if listed"
    BY_DEFAULT = "listed, or without a file"
    ALWAYS = "always"


class Accepts(Enum):
    """What becomes of the `config` of an entry (config-cli-modules 1.4)."""

    KNOWN_KEYS = "unknown keys are refused"
    WARN = "unknown keys are reported in the log"
    NOTHING_DONE = "any keys; the entry does nothing"
    NOTHING_DONE_WARN = "any keys; the entry does nothing and is reported in the log"


@attrs.frozen
class AdapterNames:
    """One adapter of a module: its short name and whatever else files call it."""

    name: str
    aliases: tuple[str, ...] = ()


@attrs.frozen
class ModuleNames:
    """One built-in module: its canonical name, its other names, its adapters and how entries of it are treated."""

    name: str
    purpose: str
    classes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    adapters: tuple[AdapterNames, ...] = ()
    default_adapter: str | None = None
    starts: Starts = Starts.LISTED
    accepts: Accepts = Accepts.KNOWN_KEYS
    replaced_by: str | None = None  # the short name that may not be listed beside the canonical one (1.3, Duplicates)
    binds_port: bool = False  # a second instance could not open its port, so it is refused (12)
    is_single: bool = False  # one instance serves the whole engine, so a second is refused

    def adapter(self, written: str) -> str | None:
        """The short name of the adapter a file calls `written`; `None` if this module has no such adapter."""
        for adapter in self.adapters:
            if written == adapter.name or written in adapter.aliases:
                return adapter.name
        return None


WORKER_MANAGER: Final = "iii-worker-manager"
ENGINE_FUNCTIONS: Final = "iii-engine-functions"
OBSERVABILITY: Final = "iii-observability"
CONFIGURATION: Final = "configuration"
HTTP: Final = "iii-http"
HTTP_FUNCTIONS: Final = "iii-http-functions"
OLD_WORKER_CLASS: Final = "modules::worker::WorkerModule"

MODULES: Final[tuple[ModuleNames, ...]] = (
    ModuleNames(
        WORKER_MANAGER,
        "a port workers connect to",
        classes=(OLD_WORKER_CLASS,),
        starts=Starts.ALWAYS,
    ),
    ModuleNames(ENGINE_FUNCTIONS, "the engine's own functions; takes no keys", starts=Starts.ALWAYS),
    ModuleNames(
        OBSERVABILITY,
        "logs, metrics, traces and alerts",
        classes=(
            "modules::observability::OtelModule",
            "modules::observability::LoggingModule",
            "modules::observability::ObservabilityModule",
        ),
        starts=Starts.ALWAYS,
        accepts=Accepts.WARN,
    ),
    ModuleNames(
        HTTP_FUNCTIONS,
        "functions that are HTTP endpoints elsewhere",
        classes=("modules::http_functions::HttpFunctionsModule",),
        starts=Starts.ALWAYS,
        is_single=True,
    ),
    ModuleNames(
        CONFIGURATION,
        "configuration values that workers read and change",
        adapters=(AdapterNames("fs"), AdapterNames("memory"), AdapterNames("bridge")),
        default_adapter="fs",
        starts=Starts.ALWAYS,
        is_single=True,
    ),
    ModuleNames(
        HTTP,
        "HTTP requests answered by functions",
        classes=("modules::api::RestApiModule", "modules::rest_api::RestApiModule"),
        aliases=("http",),
        starts=Starts.BY_DEFAULT,
        replaced_by="http",
        binds_port=True,
    ),
    ModuleNames(
        "iii-stream",
        "shared values that clients follow over a WebSocket",
        classes=("modules::stream::StreamModule", "modules::streams::StreamModule"),
        aliases=("stream",),
        adapters=(
            AdapterNames("kv", ("modules::stream::adapters::KvStore", "modules::streams::adapters::KvStore")),
            AdapterNames(
                "redis", ("modules::stream::adapters::RedisAdapter", "modules::streams::adapters::RedisAdapter")
            ),
            AdapterNames("bridge", ("modules::stream::adapters::Bridge",)),
        ),
        default_adapter="kv",
        starts=Starts.BY_DEFAULT,
        binds_port=True,
    ),
    ModuleNames(
        "iii-state",
        "values kept for functions",
        classes=("modules::state::StateModule",),
        aliases=("state",),
        adapters=(
            AdapterNames("kv", ("modules::state::adapters::KvStore",)),
            AdapterNames("redis", ("modules::state::adapters::RedisAdapter",)),
            AdapterNames("bridge", ("modules::state::adapters::Bridge",)),
        ),
        default_adapter="kv",
        starts=Starts.BY_DEFAULT,
        replaced_by="state",
    ),
    ModuleNames(
        "iii-queue",
        "topics and named queues with retries and dead letters",
        classes=("modules::queue::QueueModule", "workers::queue::QueueModule", "modules::event::EventModule"),
        aliases=("queue",),
        adapters=(
            AdapterNames("builtin", ("modules::queue::BuiltinQueueAdapter",)),
            AdapterNames(
                "redis",
                (
                    "modules::queue::RedisAdapter",
                    "modules::queue::adapters::RedisAdapter",
                    "modules::event::RedisAdapter",
                ),
            ),
            AdapterNames("rabbitmq", ("modules::queue::RabbitMQAdapter",)),
            AdapterNames("bridge", ("modules::queue::adapters::Bridge", "workers::queue::adapters::Bridge")),
            AdapterNames("memory"),
            AdapterNames("in_memory"),
            AdapterNames("file_based"),
        ),
        default_adapter="builtin",
        starts=Starts.BY_DEFAULT,
        accepts=Accepts.WARN,  # queue-pubsub-cron D8
        replaced_by="queue",
    ),
    ModuleNames(
        "iii-pubsub",
        "messages to every subscriber that is there",
        classes=("modules::pubsub::PubSubModule",),
        aliases=("pubsub",),
        adapters=(
            AdapterNames("local", ("modules::pubsub::LocalAdapter",)),
            AdapterNames("redis", ("modules::pubsub::RedisAdapter",)),
            AdapterNames("memory"),
        ),
        default_adapter="local",
        starts=Starts.BY_DEFAULT,
        replaced_by="pubsub",
    ),
    ModuleNames(
        "iii-cron",
        "functions called on a schedule",
        classes=("modules::cron::CronModule",),
        aliases=("cron",),
        adapters=(
            AdapterNames("kv", ("modules::cron::KvCronAdapter", "local")),
            AdapterNames("redis", ("modules::cron::RedisCronAdapter",)),
        ),
        default_adapter="kv",
        starts=Starts.BY_DEFAULT,
        replaced_by="cron",
    ),
    ModuleNames("iii-exec", "commands run beside the engine", classes=("modules::shell::ExecModule",)),
    ModuleNames(
        "iii-bridge",
        "functions shared with another engine",
        classes=("modules::bridge_client::BridgeClientModule",),
        aliases=("iii-bridge-client",),
    ),
    ModuleNames(
        "iii-telemetry",
        "accepted and ignored",
        classes=("modules::telemetry::TelemetryModule",),
        accepts=Accepts.NOTHING_DONE,
    ),
    ModuleNames(
        "modules::kv_server::KvServer",
        "accepted and ignored, with a warning: the stores of state and stream replace it",
        accepts=Accepts.NOTHING_DONE_WARN,
    ),
)


def _index() -> Iterator[tuple[str, ModuleNames]]:
    for module in MODULES:
        for name in (module.name, *module.classes, *module.aliases):
            yield name, module


_BY_NAME: Final = MappingProxyType(dict(_index()))


def find_module(written: str) -> ModuleNames | None:
    """The built-in module a file calls `written`, in either vocabulary; `None` if no built-in module has that name."""
    return _BY_NAME.get(written)
