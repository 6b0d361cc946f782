"""The composition root's parts list: which class stands behind each name of a configuration, and the tree made of them."""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import trio

from actors import ChildSpec, DynamicSupervisor, Node, Supervisor
from iii_trio import __version__
from iii_trio.clients.outbound import Outbound, TcpOutbound
from iii_trio.kernel import Kernel, ModuleOwner, Policy
from iii_trio.modules import CATALOGUE, ModuleCatalogue, ModuleFailed, Phases, RunningModule, Supervised
from iii_trio.modules.configuration import ConfigurationConfig
from iii_trio.modules.engine_functions import EngineFunctionsModule, ModuleRow
from iii_trio.modules.http import HttpConfig, HttpModule
from iii_trio.modules.http_functions import HttpFunctionsConfig, HttpFunctionsModule
from iii_trio.modules.observability import observability_functions
from iii_trio.settings import Catalogue, ModuleEntry, Settings, WorkerListenerConfig
from iii_trio.settings.names import CONFIGURATION, ENGINE_FUNCTIONS, HTTP, HTTP_FUNCTIONS, WORKER_MANAGER
from iii_trio.sockets import Heartbeat, OutboxLimits, Turn
from iii_trio.transport import ListenerSettings, WorkerListener

from ._configuration import ADAPTERS, configuration_maker, live_http
from ._policies import make_policies
from .network import Network

_log = logging.getLogger("iii_trio.engine")
_ALWAYS_THERE = {ENGINE_FUNCTIONS, WORKER_MANAGER, CONFIGURATION}
_INTENSITY, _PERIOD = 3, 30.0


@attrs.frozen
class Budgets:
    """Seconds each step of the shutdown may take; `serve` limits them all together to 8 s (config-cli-modules 3)."""

    drain: float = 5.0
    connections: float = 1.5
    invocations: float = 0.5
    module: float = 2.5


@attrs.frozen
class RestartLimits:
    """How often parts may be restarted before the next level up gives up: `intensity` times in `period` seconds."""

    intensity: int = _INTENSITY
    period: float = _PERIOD
    root_intensity: int = 1
    root_period: float = 60.0


def settings_catalogue(modules: ModuleCatalogue = CATALOGUE) -> Catalogue:
    """What configuration files may name: the built-in modules of this release and every registered one."""
    own: dict[str, type[Any] | None] = dict.fromkeys(modules.modules)
    built_in = {CONFIGURATION: ConfigurationConfig, HTTP: HttpConfig, HTTP_FUNCTIONS: HttpFunctionsConfig}
    return Catalogue(modules={**built_in, **own}, adapters={CONFIGURATION: ADAPTERS})


@attrs.define(eq=False, repr=False)
class Composition:
    """Makes the supervision tree of one engine from its settings. Holds what its parts share."""

    kernel: Kernel
    settings: Settings
    worker_listeners: tuple[WorkerListenerConfig, ...]
    network: Network
    limits: RestartLimits
    budgets: Budgets
    catalogue: ModuleCatalogue
    outbox: OutboxLimits
    tree: Callable[[], Node]
    outbound: Outbound = attrs.field(factory=TcpOutbound)
    environment: Mapping[str, str] = attrs.field(default=os.environ)
    connections: DynamicSupervisor = attrs.field(init=False)
    turn: Turn = attrs.field(factory=Turn)
    all_up: trio.Event = attrs.field(factory=trio.Event)
    listeners: list[WorkerListener] = attrs.field(factory=list)
    addresses: dict[str, tuple[str, int]] = attrs.field(factory=dict)
    destroy_failures: list[ModuleFailed] = attrs.field(factory=list)
    started_at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.started_at = self.kernel.clock.now()
        self.kernel.invocations.shutdown = self.budgets.invocations
        self.connections = DynamicSupervisor("connections", max_children=16_384, shutdown=self.budgets.connections)

    def children(self) -> list[ChildSpec]:
        """The children of the root, in starting order (style guide, The supervision tree)."""
        return [
            ChildSpec.supervisor("invocations", lambda: self.kernel.invocations),
            ChildSpec.supervisor("modules", self._modules),
            ChildSpec.supervisor("connections", self._connections),
            *self._listeners(),
            ChildSpec("drain", self._drain, shutdown=self.budgets.drain),
        ]

    def _connections(self) -> DynamicSupervisor:
        self.all_up.set()  # the modules before it in the order are ready: background tasks may begin
        return self.connections

    # --- modules ----------------------------------------------------------------------------------------------------

    def _modules(self) -> Supervisor:
        specs = [self._module(ENGINE_FUNCTIONS, ENGINE_FUNCTIONS, self._engine_functions)]
        entries = sorted(self.settings.entries, key=lambda entry: entry.module != CONFIGURATION)  # others read from it
        for entry in entries:
            make = self._maker(entry)
            if make is not None:
                specs.append(self._module(entry.instance, entry.written, make))
        for name, registration in self.catalogue.modules.items():
            if registration.mandatory and all(entry.module != name for entry in self.settings.entries):
                specs.append(self._module(name, name, partial(self._phases, name, None)))
        return Supervisor("modules", specs, intensity=self.limits.intensity, period=self.limits.period)

    def _module(self, instance: str, written: str, make: Callable[[ModuleOwner], RunningModule]) -> ChildSpec:
        owner = ModuleOwner(instance, written)
        start = Supervised(self.kernel, owner, partial(make, owner))
        logic = ChildSpec("logic", start, shutdown=self.budgets.module)
        limits: dict[str, Any] = {"intensity": self.limits.intensity, "period": self.limits.period}
        return ChildSpec.supervisor(instance, lambda: Supervisor(instance, [logic], strategy="rest_for_one", **limits))

    def _maker(self, entry: ModuleEntry) -> Callable[[ModuleOwner], RunningModule] | None:
        """How to build the module of an entry; None for entries that are not modules (the worker listeners)."""
        if entry.module in self.catalogue.modules:  # one of these may take the place of a built-in one
            return partial(self._phases, entry.module, entry.config)
        if entry.module == HTTP:
            return partial(self._http, entry)
        if entry.module == CONFIGURATION:
            return configuration_maker(entry, self.environment)
        if entry.module == HTTP_FUNCTIONS:
            return partial(self._http_functions, entry.options)
        return None

    def _http(self, entry: ModuleEntry, owner: ModuleOwner) -> RunningModule:
        return HttpModule(entry.options, owner, self.network, live=live_http(entry), turn=self.turn)

    def _http_functions(self, config: HttpFunctionsConfig, owner: ModuleOwner) -> RunningModule:
        return HttpFunctionsModule(config, owner, self.outbound, self.environment)

    def _phases(self, name: str, config: Mapping[str, Any] | None, owner: ModuleOwner) -> RunningModule:
        cls = self.catalogue.modules[name].cls
        return Phases(cls, config, owner, self.catalogue, self.all_up, self.destroy_failures)

    def _engine_functions(self, owner: ModuleOwner) -> RunningModule:
        return EngineFunctionsModule(owner, self.tree, self._rows, observability_functions())

    def _rows(self) -> list[ModuleRow]:
        names = [ENGINE_FUNCTIONS, *(entry.instance for entry in self.settings.entries)]
        return [self._row(instance, instance.partition("#")[0]) for instance in dict.fromkeys(names)]

    def _row(self, instance: str, name: str) -> ModuleRow:
        return ModuleRow(instance, name, __version__, self.started_at, internal=name in _ALWAYS_THERE)

    # --- worker listeners -------------------------------------------------------------------------------------------

    def _listeners(self) -> list[ChildSpec]:
        specs = []
        policies = make_policies(self.worker_listeners)
        for number, (config, policy) in enumerate(zip(self.worker_listeners, policies, strict=True)):
            name = f"listener#{number}" if number else "listener"
            listener = self._listener(name, config, policy)
            self.listeners.append(listener)
            specs.append(ChildSpec(name, listener.run, shutdown=0.5))
        return specs

    def _listener(self, name: str, config: WorkerListenerConfig, policy: Policy | None) -> WorkerListener:
        settings = ListenerSettings(
            config.handshake_timeout_ms / 1000,
            Heartbeat(config.heartbeat_interval_ms / 1000, config.idle_timeout_ms / 1000),
            self.outbox,
            self.settings.registration_namespace_grace_ms / 1000,
        )

        async def open_listeners() -> Any:
            port = self.addresses.get(name, (config.host, config.port))[1]
            opened = await self.network.open_listeners(config.host, port)
            self.addresses[name] = (config.host, self.network.port_of(opened))
            _log.info("Engine listening on address: %s:%s", *self.addresses[name])
            return opened

        return WorkerListener(self.kernel, self.connections, settings, self.turn, open_listeners, policy)

    # --- drain ------------------------------------------------------------------------------------------------------

    async def _drain(self, *, task_status: trio.TaskStatus["_DrainHandle"]) -> None:
        """Last to start, first to stop: closes every accept, refuses new work, lets what runs finish."""
        handle = _DrainHandle()
        task_status.started(handle)
        await handle.asked.wait()
        for listener in self.listeners:
            listener.stop_accepting()
        await self.kernel.drain()


@attrs.define(eq=False)
class _DrainHandle:
    asked: trio.Event = attrs.field(factory=trio.Event)

    def request_stop(self) -> None:
        self.asked.set()
