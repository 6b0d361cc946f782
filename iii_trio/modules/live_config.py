"""Settings of a built-in module that may change while it runs: its entry in the configuration module (http.md 3.4).

Modules do not import each other: this one speaks to `configuration::*` as any worker does, and copes without an answer.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from iii_trio.kernel import Call, Function, Kernel, ModuleOwner, Trigger
from iii_trio.protocol import Json, Payload
from iii_trio.protocol.errors import ConfigError, IIIError, InvocationError, NotFound

_log = logging.getLogger("iii_trio.modules")
_T = TypeVar("_T")
PATIENCE: Final = 10.0
"""Seconds for one call of the configuration module."""

RETRY_PAUSE: Final = 5.0
TRIGGER_TYPE: Final = "configuration"


class NoAnswerError(IIIError):
    """The configuration module has not answered in time."""

    def __init__(self, function_id: str) -> None:
        super().__init__(f"{function_id} has not answered within {PATIENCE:g} s")


@attrs.frozen
class LiveConfig(Generic[_T]):
    """The configuration entry of one module.

    Args:
      id: of the entry, and first part of the ids of the function and the trigger that follow it.
      name: for people.
      description: what the entry configures.
      schema: JSON Schema of its values.
      structure: makes the module's settings of a value; raises ConfigError.
      initial: the value where nothing is stored yet.
      static: what `initial` comes to; most often it is in force, and then nothing is structured.
      block: what the configuration file says, None if nothing. Once it is another than before, it replaces the value;
        so does the first one, where the value was stored without.
    """

    id: str
    name: str
    description: str
    schema: Json
    structure: Callable[[Mapping[str, Any]], _T]
    initial: Mapping[str, Any]
    static: _T
    block: Mapping[str, Any] | None

    async def load(self, kernel: Kernel) -> _T | None:
        """Make the entry known and read it; None, after a warning, if that fails: the module runs with its block then.

        Takes 30 s at most.
        """
        try:
            await self._register(kernel, has_value=await self._has_value(kernel))
            return await self.read(kernel)
        except IIIError as error:
            _log.warning("%s runs with what the configuration file says: %s", self.id, error)
            return None

    async def read(self, kernel: Kernel) -> _T:
        """The settings in force. Raises InvocationError, NoAnswerError, or ConfigError if the value cannot be used."""
        value = (await _call(kernel, "configuration::get", {"id": self.id}))["value"]
        if not isinstance(value, dict):
            raise ConfigError(f"configuration '{self.id}' holds no mapping")
        return self.static if value == self.initial else self.structure(value)

    async def _has_value(self, kernel: Kernel) -> bool:
        try:
            return (await _call(kernel, "configuration::get", {"id": self.id, "raw": True}))["value"] is not None
        except NotFound:
            return False

    async def _register(self, kernel: Kernel, *, has_value: bool) -> None:
        said = {"id": self.id, "name": self.name, "description": self.description, "schema": self.schema}
        if self.block is not None or not has_value:
            said["seed"] = self.block or {}
        if not has_value:
            said["initial_value"] = self.initial
        await _call(kernel, "configuration::register", said)

    @contextmanager
    def following(
        self, kernel: Kernel, owner: ModuleOwner, apply: Callable[[_T], Awaitable[None]]
    ) -> Iterator["Follower[_T]"]:
        """Have changes of the entry applied, one after the other, for the length of a block."""
        follower = Follower(kernel, self, apply)
        function_id, trigger_id = f"{self.id}::on-config-change", f"{self.id}::config-watch"
        hidden = Payload.of({"internal": True})
        kernel.functions.add(Function(function_id, owner, handler=follower.on_change, metadata=hidden))
        wanted = {"configuration_id": self.id, "event_types": ["configuration:updated"]}
        kernel.triggers.add(Trigger(trigger_id, TRIGGER_TYPE, function_id, config=Payload.of(wanted)))
        try:
            yield follower
        finally:
            kernel.triggers.remove(trigger_id)


@attrs.define(eq=False)
class Follower(Generic[_T]):
    """Brings the settings of a module up to date when its entry changes."""

    kernel: Kernel
    live: LiveConfig[_T]
    apply: Callable[[_T], Awaitable[None]]
    _applying: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def on_change(self, _: Call) -> Json:
        """The function behind the trigger: whatever comes of it, it has been told."""
        await self.catch_up()
        return {"ok": True}

    async def catch_up(self) -> None:
        """Read the entry and apply it. If that fails, the settings stay as they are, and the log says so."""
        async with self._applying:
            try:
                settings = await self._read()
            except IIIError as error:
                _log.error("%s keeps its settings: %s", self.live.id, error)
                return
            await self.apply(settings)

    async def _read(self) -> _T:
        try:
            return await self.live.read(self.kernel)
        except NoAnswerError as error:
            _log.warning("%s asks once more in %g s: %s", self.live.id, RETRY_PAUSE, error)
            await trio.sleep(RETRY_PAUSE)
            return await self.live.read(self.kernel)


async def _call(kernel: Kernel, function_id: str, payload: Json) -> Json:
    with trio.move_on_after(PATIENCE):
        answer = (await kernel.bus.invoke(function_id, payload)).value
        if not isinstance(answer, dict):
            raise InvocationError(f"{function_id} answered no object")
        return {"value": None, **answer}
    raise NoAnswerError(function_id)
