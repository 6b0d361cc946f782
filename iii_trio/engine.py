"""The engine as a value: `async with open_engine(config) as engine` (style guide, Embedding)."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actors import (
    ActorStopped,
    DynamicStatistics,
    DynamicSupervisor,
    EventStream,
    Node,
    RestartLimitReached,
    Supervisor,
    open_supervisor,
)
from iii_trio import __version__
from iii_trio.clients.outbound import Outbound, TcpOutbound
from iii_trio.kernel import Clock, Function, Ids, Kernel, KernelStatistics, Limits, ModuleOwner, SystemClock
from iii_trio.modules import CATALOGUE, ModuleCatalogue, ModuleFailed
from iii_trio.modules.http import ADDRESS_SERVICE
from iii_trio.modules.results import FunctionHandler, ShortHandler, to_handler
from iii_trio.protocol import Json
from iii_trio.protocol.errors import EngineCrashed
from iii_trio.settings import (
    ModuleEntry,
    Settings,
    WorkerListenerConfig,
    build_settings,
    default_settings,
    load_settings,
)
from iii_trio.sockets import OutboxLimits
from iii_trio.transport import ListenerStatistics

from ._configuration import in_memory
from ._crashes import CrashLog
from ._notices import log_notices
from .composition import Budgets, Composition, RestartLimits, settings_catalogue
from .network import Network, TcpNetwork

if TYPE_CHECKING:
    from iii_trio.worker import Worker

_log = logging.getLogger("iii_trio.engine")
Config = Settings | Mapping[str, Any] | Path | str | None


@attrs.frozen
class EngineStatistics:
    """Everything the engine counts, in one picture."""

    kernel: KernelStatistics
    invocations: DynamicStatistics
    connections: DynamicStatistics
    listeners: tuple[ListenerStatistics, ...]


@attrs.define(eq=False, repr=False)
class Engine:
    """A running engine. In the block of `open_engine` everything is ready: ports are bound, modules registered.

    One of `build_engine` takes registrations before it runs; what needs it running raises RuntimeError until then.
    """

    kernel: Kernel
    events: EventStream
    """What happens in the supervision tree."""

    composition: Composition = attrs.field(repr=False)
    random: Random = attrs.field(repr=False)
    _root: Supervisor | None = None
    _owner: ModuleOwner = attrs.field(factory=lambda: ModuleOwner("embedding", "embedding"))
    _stop: trio.Event = attrs.field(factory=trio.Event)

    async def invoke(self, function_id: str, payload: Json = None, *, namespace: str | None = None) -> Json:
        """Call a function and return its value.

        Raises InvocationError, RuntimeError before the engine runs. The caller's cancel scope is the deadline;
        cancelling gives up the reply, not the handler (wire-protocol 5.9).
        """
        self._check_running()
        return (await self.kernel.bus.invoke(function_id, payload, namespace=namespace)).value

    def register(
        self, function_id: str, handler: FunctionHandler | ShortHandler, *, description: str | None = None
    ) -> None:
        """Offer `async handler(payload) -> value` as a function of the namespace `default`."""
        self.kernel.functions.add(
            Function(function_id, self._owner, handler=to_handler(handler), description=description)
        )

    def unregister(self, function_id: str) -> bool:
        """Withdraw a function registered here; False if there is none of that id."""
        return self.kernel.functions.remove(self._owner, "default", function_id)

    def worker(self, name: str) -> "AbstractAsyncContextManager[Worker]":
        """A worker inside this process, with the API of one over WebSocket and no socket: `async with`."""
        from iii_trio.worker import open_local_worker

        return open_local_worker(self.kernel, name)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first worker listener. Raises LookupError if none is open."""
        return self.addresses["listener"]

    @property
    def addresses(self) -> Mapping[str, tuple[str, int]]:
        """What listens where: `listener`, `listener#1`, ... and `http`."""
        http = self.kernel.services.get(ADDRESS_SERVICE)
        return {**self.composition.addresses, **({"http": http} if isinstance(http, tuple) else {})}

    @property
    def destroy_failures(self) -> tuple[ModuleFailed, ...]:
        """The modules that failed while they were being destroyed, in that order; each was logged."""
        return tuple(self.composition.destroy_failures)

    def tree(self) -> Node:
        """The supervision tree as it is now."""
        return self._supervisor.tree()

    def attach(self, root: Supervisor) -> None:
        """Take the supervisor of the running tree. Called once, by `open_engine`."""
        self._root = root

    def _check_running(self) -> None:
        if self._root is None:
            raise RuntimeError("the engine is not running yet")

    @property
    def _supervisor(self) -> Supervisor:
        self._check_running()
        assert self._root is not None
        return self._root

    def kill(self, path: str, reason: str = "killed") -> bool:
        """Cancel the task at a path of the tree (`modules/iii-http/logic`, `connections/<id>`), for chaos tests.

        It counts as a crash. False if nothing runs there.
        """
        return kill(self._supervisor, path, reason)

    def request_stop(self) -> None:
        """Ask whoever runs the engine to leave its block; returns at once."""
        self._stop.set()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody called `request_stop`."""
        return self._stop.is_set()

    async def wait_stop_requested(self) -> None:
        """Wait until somebody called `request_stop`."""
        await self._stop.wait()

    def hasten_stop(self) -> None:
        """Cancel whatever is being stopped at this moment and takes its time over it."""
        for path in _stopping(self.tree()):
            self.kill(path.partition("/")[2], "the stop is to be quick")

    def statistics(self) -> EngineStatistics:
        """Counts of every part, for monitoring and leak tests."""
        return EngineStatistics(
            self.kernel.statistics(),
            self.kernel.invocations.statistics(),
            self.composition.connections.statistics(),
            tuple(listener.statistics() for listener in self.composition.listeners),
        )


def _stopping(node: Node) -> list[str]:
    """The paths of the leaves below a node that have been asked to stop."""
    if node.children:
        return [path for child in node.children for path in _stopping(child)]
    return [node.path] if node.state == "stopping" else []


def kill(supervisor: Supervisor, path: str, reason: str) -> bool:
    """Cancel the child at `path` below a supervisor; False if nothing runs there."""
    name, _, rest = path.partition("/")
    try:
        if not rest:
            supervisor.kill_child(name, reason)
            return True
        below = supervisor.child(name)
    except (KeyError, ActorStopped):
        return False
    if isinstance(below, Supervisor):
        return kill(below, rest, reason)
    if isinstance(below, DynamicSupervisor):
        for child in below:
            if child.name == rest:
                child.cancel(reason)
                return True
    return False


@asynccontextmanager
async def open_engine(
    config: Config = None,
    *,
    host: str | None = None,
    port: int | None = None,
    clock: Clock | None = None,
    random: Random | None = None,
    network: Network | None = None,
    outbound: Outbound | None = None,
    limits: Limits | None = None,
    outbox: OutboxLimits | None = None,
    restarts: RestartLimits | None = None,
    budgets: Budgets | None = None,
    catalogue: ModuleCatalogue = CATALOGUE,
    env: Mapping[str, str] = os.environ,
    on_created: Callable[[Engine], Awaitable[None] | None] | None = None,
) -> AsyncIterator[Engine]:
    """Run an engine beside the block; it is ready when the block begins and drained when the block ends.

    Args:
      config: `Settings`, a mapping with the keys of a configuration file, the path of one, or None for the default
        modules on 127.0.0.1.
      host: of the first worker listener, in place of the configured one.
      port: of the first worker listener, likewise; 0 is an ephemeral port.
      clock: where time comes from.
      random: where ids and jitter come from.
      network: where listeners come from.
      outbound: how modules reach addresses outside.
      limits: of the invocations in flight.
      outbox: the limits of what may wait for one worker, and for how long.
      restarts: the limits of the supervisors.
      budgets: of the stop, in seconds.
      catalogue: the modules that may be named, beside the built-in ones.
      env: for `${VAR}` in configuration files and in configuration values, and for the secrets of HTTP-invoked
        functions.
      on_created: called with the engine before its parts start (to listen to kernel events, say).

    Raises:
      ConfigError: the configuration cannot be used.
      actors.StartError: a part did not start; names the child, its cause says why.
      EngineCrashed: the engine gave up while the block ran; the block was cancelled.

    An error in the block stops the engine and arrives bare. Cancelling the block drains within the budget.
    """
    engine = build_engine(
        resolve_settings(config, catalogue, env),
        host=host,
        port=port,
        clock=clock,
        random=random,
        network=network,
        outbound=outbound,
        limits=limits,
        outbox=outbox,
        restarts=restarts,
        budgets=budgets,
        catalogue=catalogue,
        env=env,
    )
    if on_created is not None and (waiting := on_created(engine)) is not None:
        await waiting
    async with run_engine(engine):
        yield engine


def build_engine(
    settings: Settings,
    *,
    host: str | None = None,
    port: int | None = None,
    clock: Clock | None = None,
    random: Random | None = None,
    network: Network | None = None,
    outbound: Outbound | None = None,
    limits: Limits | None = None,
    outbox: OutboxLimits | None = None,
    restarts: RestartLimits | None = None,
    budgets: Budgets | None = None,
    catalogue: ModuleCatalogue = CATALOGUE,
    env: Mapping[str, str] = os.environ,
) -> Engine:
    """An engine that has not started: it holds no task, port or file, and takes registrations. Arguments: `open_engine`."""
    listeners = _listeners(settings, host, port)
    log_notices(settings, listeners)
    kernel = Kernel(clock=clock or SystemClock(), ids=Ids(random) if random else Ids(), limits=limits or Limits())
    composition = Composition(
        kernel,
        settings,
        listeners,
        network or TcpNetwork(),
        restarts or RestartLimits(),
        budgets or Budgets(),
        catalogue.copy(),
        outbox or OutboxLimits(),
        lambda: engine.tree(),  # noqa: PLW0108  # there is no engine yet
        outbound=outbound or TcpOutbound(),
        environment=env,
    )
    engine = Engine(kernel, EventStream(), composition, random or Random())  # noqa: S311  # spreads backoff, guards nothing
    engine.events.listen(CrashLog().note)
    return engine


@asynccontextmanager
async def run_engine(engine: Engine) -> AsyncIterator[Engine]:
    """Run an engine of `build_engine` beside the block, once; all else as `open_engine` does it."""
    limits = engine.composition.limits
    try:
        async with open_supervisor(
            engine.composition.children(),
            intensity=limits.root_intensity,
            period=limits.root_period,
            random=engine.random,
            events=engine.events,
        ) as root:
            engine.attach(root)
            yield engine
    except RestartLimitReached as error:
        raise EngineCrashed(f"the engine gave up: {error}") from (error.__cause__ or error)


def _listeners(settings: Settings, host: str | None, port: int | None) -> tuple[WorkerListenerConfig, ...]:
    """The worker listeners; `host` and `port` mean the first one."""
    first, *others = settings.listeners()
    given: dict[str, Any] = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    return attrs.evolve(first, **given), *others


def resolve_settings(
    config: Config, catalogue: ModuleCatalogue = CATALOGUE, env: Mapping[str, str] = os.environ
) -> Settings:
    """Make `Settings` of whatever names a configuration. Raises ConfigError."""
    known = settings_catalogue(catalogue)
    match config:
        case Settings():
            return config
        case None:
            return _with_default_modules(default_settings(known, env), catalogue)
        case str() | Path():
            return load_settings(Path(config), env, known, __version__)
        case _:
            return in_memory(build_settings(config, known, env=env))


def _with_default_modules(settings: Settings, catalogue: ModuleCatalogue) -> Settings:
    """Add the registered modules that start when there is no configuration file."""
    present = {entry.module for entry in settings.entries}
    names = [name for name, known in catalogue.modules.items() if known.default and name not in present]
    return attrs.evolve(settings, entries=(*settings.entries, *(ModuleEntry(name, name, name) for name in names)))
