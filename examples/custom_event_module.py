"""A module of one's own: events by topic, with a function, a trigger type and a choice of adapters.

Serve it with `iii-trio serve --load examples.custom_event_module --config events.yaml`, where the file says

    modules:
      - class: my::CustomEventModule
        config:
          adapter:
            class: my::LoggingEventAdapter
            config: { inner_adapter: my::InMemoryEventAdapter }

Workers bind functions with a trigger of type `event` and the config `{"subscribes": ["orders"]}`, and anybody emits:
`iii-trio trigger custom::emit topic=orders data='{"id": 7}'`.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol, Self

import attrs

from iii_trio.modules import (
    ConfigurableModule,
    Failure,
    FunctionResult,
    ModuleEngine,
    RegisterFunctionRequest,
    Success,
    Trigger,
    TriggerType,
    register_adapter,
    register_module,
)
from iii_trio.protocol import ErrorBody, Json
from iii_trio.protocol.errors import InvocationError, TriggerRejected

log = logging.getLogger("iii_trio.examples.events")


class EventAdapter(Protocol):
    """Knows which triggers want which topic."""

    async def subscribe(self, trigger: Trigger, topics: list[str]) -> None: ...
    async def unsubscribe(self, trigger_id: str) -> None: ...
    async def emit(self, topic: str, data: Json) -> int:
        """Call every function bound to `topic`; return how many there are."""


@attrs.frozen
class EventConfig:
    """The keys of the module's entry, beside `adapter`."""

    max_topics: int = 100


@register_module("my::CustomEventModule")
@attrs.define
class CustomEventModule(ConfigurableModule):
    """`custom::emit` and the trigger type `event`; also the registrator of that type."""

    Config = EventConfig
    DEFAULT_ADAPTER_CLASS = "my::InMemoryEventAdapter"

    engine: ModuleEngine
    config: EventConfig
    adapter: EventAdapter

    @classmethod
    def build(cls, engine: ModuleEngine, config: EventConfig, adapter: EventAdapter) -> Self:
        return cls(engine, config, adapter)

    def name(self) -> str:
        return "custom-event"

    async def initialize(self) -> None:
        await self.engine.register_trigger_type(TriggerType("event", self, "Fires for every event of a topic."))
        self.engine.register_function(RegisterFunctionRequest("custom::emit", "Emits {topic, data}."), self.emit)

    async def emit(self, event: Json) -> FunctionResult:
        topic = event.get("topic") if isinstance(event, dict) else None
        if not isinstance(topic, str):
            return Failure(ErrorBody("missing_topic", "Missing 'topic'"))
        return Success({"delivered": await self.adapter.emit(topic, event.get("data"))})

    async def register_trigger(self, trigger: Trigger) -> None:
        topics = trigger.config.get("subscribes") if isinstance(trigger.config, dict) else None
        if not isinstance(topics, list):
            raise TriggerRejected("Missing 'subscribes' array")
        if not all(isinstance(topic, str) for topic in topics):
            raise TriggerRejected("Invalid topic")
        if len(topics) > self.config.max_topics:
            raise TriggerRejected(f"More than {self.config.max_topics} topics")
        await self.adapter.subscribe(trigger, topics)

    async def unregister_trigger(self, trigger: Trigger) -> None:
        await self.adapter.unsubscribe(trigger.id)


@attrs.define
class InMemoryEvents:
    """Subscriptions in a dictionary: after a restart the engine registers its triggers again."""

    engine: ModuleEngine
    subscribers: dict[str, tuple[str, list[str]]] = attrs.field(factory=dict)

    async def subscribe(self, trigger: Trigger, topics: list[str]) -> None:
        self.subscribers[trigger.id] = (trigger.function_id, topics)

    async def unsubscribe(self, trigger_id: str) -> None:
        self.subscribers.pop(trigger_id, None)

    async def emit(self, topic: str, data: Json) -> int:
        wanted = [function_id for function_id, topics in self.subscribers.values() if topic in topics]
        for function_id in wanted:
            try:
                await self.engine.call(function_id, data)
            except InvocationError as error:  # one subscriber's failure is not the emitter's
                log.warning("event %s: %s failed: %s", topic, function_id, error)
        return len(wanted)


@attrs.define
class LoggingEvents:
    """Logs what another adapter does."""

    inner: EventAdapter

    async def subscribe(self, trigger: Trigger, topics: list[str]) -> None:
        log.info("%s subscribes to %s", trigger.function_id, topics)
        await self.inner.subscribe(trigger, topics)

    async def unsubscribe(self, trigger_id: str) -> None:
        await self.inner.unsubscribe(trigger_id)

    async def emit(self, topic: str, data: Json) -> int:
        log.info("event %s", topic)
        return await self.inner.emit(topic, data)


@register_adapter(CustomEventModule, "my::InMemoryEventAdapter")
async def open_in_memory(engine: ModuleEngine, _config: Mapping[str, Any] | None) -> EventAdapter:
    return InMemoryEvents(engine)


@register_adapter(CustomEventModule, "my::LoggingEventAdapter")
async def open_logging(engine: ModuleEngine, config: Mapping[str, Any] | None) -> EventAdapter:
    inner = (config or {}).get("inner_adapter", CustomEventModule.DEFAULT_ADAPTER_CLASS)
    return LoggingEvents(await engine.create_adapter(CustomEventModule, inner, None))
