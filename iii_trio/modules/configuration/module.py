"""The configuration module: its functions, its trigger type, and its life (config-cli-modules 7)."""

import attrs
import trio

from iii_trio.kernel import Call, Kernel, ModuleOwner
from iii_trio.modules.built_in import BuiltIn
from iii_trio.protocol import Json, decode_json

from . import _inputs as inputs
from .config import ConfigurationConfig
from .registry import Registry
from .schema import Schema
from .store import OpenAdapter, Stored
from .subscribers import CALL_FORMAT, DESCRIPTION, TRIGGER_FORMAT, TYPE, Subscribers
from .values import ExpandText

_SCHEMAS = "configuration_schemas"


@attrs.define(eq=False)
class ConfigurationModule:
    """Keeps configuration values and tells of their changes. A restart reads them anew and binds its triggers again.

    Args:
      config: its block in the configuration file.
      owner: the module as the kernel knows it.
      open_adapter: opens where the values are kept.
      expand: puts environment variables into a text.
    """

    config: ConfigurationConfig
    owner: ModuleOwner
    open_adapter: OpenAdapter
    expand: ExpandText

    async def run(self, kernel: Kernel, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; a change that is being written then is finished first.

        Raises AdapterError if what is kept cannot be reached.
        """

        async def abandon(entry_id: str) -> None:
            await registry.delete(entry_id)

        async with self.open_adapter() as adapter, trio.open_nursery() as nursery:
            subscribers = Subscribers(kernel, nursery, self.config.ttl_seconds, abandon)
            registry = Registry(adapter, _schemas(kernel), self.expand, subscribers.publish)
            await registry.load()
            for built_in in _Functions(registry).built_ins():
                kernel.functions.add(built_in.function(self.owner))
            with kernel.triggers.serve(
                TYPE,
                subscribers.bind,
                owner=self.owner,
                description=DESCRIPTION,
                trigger_request_format=TRIGGER_FORMAT,
                call_request_format=CALL_FORMAT,
            ):
                task_status.started()
                await registry.follow()


def _schemas(kernel: Kernel) -> dict[str, Schema]:
    """The registered schemas, which no adapter keeps: they outlive a crash of the module, but not the engine."""
    schemas = kernel.services.get(_SCHEMAS)
    if not isinstance(schemas, dict):
        schemas = {}
        kernel.services.register(_SCHEMAS, schemas)
    return schemas


@attrs.frozen
class _Functions:
    """What the module answers to."""

    registry: Registry

    def built_ins(self) -> tuple[BuiltIn, ...]:
        return (
            BuiltIn(
                "configuration::register",
                "Makes a configuration entry known, with the schema of its values.",
                inputs.Register,
                inputs.REGISTERED,
                self.register,
            ),
            BuiltIn(
                "configuration::set",
                "Changes the value of an entry; it is on disk when this returns.",
                inputs.Set,
                inputs.CHANGED,
                self.set,
            ),
            BuiltIn(
                "configuration::get", "The value of an entry, variables put in.", inputs.Get, inputs.VALUE, self.get
            ),
            BuiltIn(
                "configuration::list", "Every entry, without its value.", inputs.List, inputs.ENTRIES, self.describe_all
            ),
            BuiltIn(
                "configuration::schema", "One entry, without its value.", inputs.Describe, inputs.ENTRY, self.describe
            ),
        )

    async def register(self, call: Call) -> Json:
        asked = inputs.read(call, inputs.Register)
        optional = {key: inputs.value_of(getattr(asked, key)) for key in ("metadata", "seed")}
        wanted = Stored(asked.id, asked.name, asked.description, value=inputs.value_of(asked.initial_value), **optional)
        return await self.registry.register(wanted, decode_json(memoryview(asked.schema)))

    async def set(self, call: Call) -> Json:
        asked = inputs.read(call, inputs.Set)
        return await self.registry.set(asked.id, decode_json(memoryview(asked.value)))

    async def get(self, call: Call) -> Json:
        await trio.lowlevel.checkpoint()
        asked = inputs.read(call, inputs.Get)
        return {"id": asked.id, "value": self.registry.get(asked.id, raw=bool(asked.raw))}

    async def describe(self, call: Call) -> Json:
        await trio.lowlevel.checkpoint()
        return self.registry.describe(inputs.read(call, inputs.Describe).id)

    async def describe_all(self, call: Call) -> Json:
        await trio.lowlevel.checkpoint()
        inputs.read(call, inputs.List)
        return {"configurations": self.registry.describe_all()}
