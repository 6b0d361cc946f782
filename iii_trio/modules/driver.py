"""Runs a public `Module` through its phases inside the engine's own contract, `run(kernel)` (config-cli-modules 2.1)."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs
import trio

from iii_trio.kernel import Kernel, ModuleOwner
from iii_trio.protocol.errors import IIIError, ungrouped

from .base import Module
from .catalogue import ModuleCatalogue
from .module_engine import ModuleEngine

_log = logging.getLogger("iii_trio.modules")
DESTROY_BUDGET = 2.0


class RunningModule(Protocol):
    """The contract inside the engine: ready when it calls `started`, alive until cancelled, restartable."""

    async def run(self, kernel: Kernel, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled."""
        ...


class ModuleFailed(IIIError):
    """A phase of a module raised; the text names phase, module and cause."""

    def __init__(self, phase: str, name: str, cause: BaseException) -> None:
        super().__init__(f"failed to {phase} module '{name}': {cause}")


@attrs.define(eq=False)
class Phases:
    """One incarnation of a public module, as a `RunningModule`."""

    cls: type[Module]
    config: Mapping[str, Any] | None
    owner: ModuleOwner
    catalogue: ModuleCatalogue
    all_up: trio.Event
    """Set when every module of the engine has started: background tasks begin then."""

    destroy_failures: list[ModuleFailed]
    """Where a failed `destroy` is noted, for the exit code."""

    async def run(self, kernel: Kernel, *, task_status: trio.TaskStatus[None]) -> None:
        """Go through the phases, serve until cancelled, destroy. Raises ModuleFailed for a failed start phase."""
        async with trio.open_nursery() as nursery:
            engine = ModuleEngine(kernel, self.owner, self.catalogue, nursery)
            module: Module | None = None
            shutdown = trio.Event()
            try:
                module = await self._phase("create", lambda: self.cls.create(engine, self.config))
                await self._phase("initialize", module.initialize)
                await self._phase("register functions of", lambda: module.register_functions(engine))
                task_status.started()
                await self.all_up.wait()
                await self._start_background(module, shutdown, nursery)
                await trio.sleep_forever()
            finally:
                engine.close()
                shutdown.set()
                if module is not None:
                    with trio.move_on_after(DESTROY_BUDGET, shield=True) as scope:
                        await self._destroy(module)
                    if scope.cancelled_caught:
                        _log.error("module %s did not finish destroy within %g s", self.owner.id, DESTROY_BUDGET)

    async def _phase(self, phase: str, step: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await step()
        except Exception as error:
            raise ModuleFailed(phase, self.owner.id, error) from error

    async def _start_background(self, module: Module, shutdown: trio.Event, nursery: trio.Nursery) -> None:
        try:
            await self._phase("start", lambda: module.start_background_tasks(shutdown, nursery))
        except ModuleFailed as error:
            _log.warning("Failed to start background tasks for module %s: %s", self.owner.id, error.__cause__)

    async def _destroy(self, module: Module) -> None:
        try:
            await self._phase("destroy", module.destroy)
        except ModuleFailed as error:
            _log.error("%s", error)
            self.destroy_failures.append(error)


@attrs.frozen
class Supervised:
    """Starts a fresh incarnation of a module each time, and tells callers while there is none."""

    kernel: Kernel
    owner: ModuleOwner
    make: Callable[[], RunningModule]

    async def __call__(self, *, task_status: trio.TaskStatus[RunningModule]) -> None:
        """Run one incarnation. Its functions answer `module_unavailable` from its end to the next one's readiness.

        Raises ModuleFailed for whatever kept it from becoming ready.
        """
        module = self.make()
        readiness = _Readiness(self.owner, module, task_status)
        try:
            await module.run(self.kernel, task_status=readiness)
        except Exception as raised:  # noqa: BLE001  # the child wrapper: every error goes on, named after its module
            error = ungrouped(raised)
            if readiness.given or isinstance(error, ModuleFailed):
                raise error from error.__cause__
            raise ModuleFailed("initialize", self.owner.id, error) from error
        finally:
            self.owner.available = False
            self.kernel.ledger.stop_executions(self.owner)


@attrs.define(eq=False)
class _Readiness:
    """Tells the supervisor which object is up: one with `request_stop` is asked before it is cancelled."""

    owner: ModuleOwner
    module: RunningModule
    inner: trio.TaskStatus[RunningModule]
    given: bool = False

    def started(self, value: None = None) -> None:  # noqa: ARG002  # the protocol's parameter
        self.owner.available = self.given = True
        self.inner.started(self.module)
