"""The http module: its life between the kernel and a listening socket (http.md 3)."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Final

import attrs
import trio

from iii_trio.kernel import Kernel, ModuleOwner
from iii_trio.modules.live_config import LiveConfig
from iii_trio.protocol.errors import IIIError, ungrouped
from iii_trio.sockets import Turn

from .config import HttpConfig
from .entry import may_replace, waiting_keys
from .gateway import Gateway
from .routes import RouteTable
from .seam import HttpServer, Request, Response
from .shortcut import FunctionShortcuts
from .site import Network, Site
from .triggers import ALIAS, DESCRIPTION, REQUEST_FORMAT, RESPONSE_FORMAT, TRIGGER_FORMAT, TYPE, Binder

_log = logging.getLogger("iii_trio.http")
ADDRESS_SERVICE: Final = "http_address"


OpenServer = Callable[[Kernel, HttpConfig, Turn], HttpServer]


def open_fast(kernel: Kernel, config: HttpConfig, turn: Turn) -> HttpServer:  # noqa: ARG001  # an `OpenServer`
    """The engine's own server."""
    from .fast_server import FastServer

    return FastServer(now=kernel.clock.now, turn=turn)


def open_hypercorn(kernel: Kernel, config: HttpConfig, turn: Turn) -> HttpServer:  # noqa: ARG001  # as above
    """The server that also speaks TLS. Imported here: hypercorn takes a tenth of a second to load. Raises TlsError."""
    from .hypercorn_server import HypercornServer, open_tls

    return HypercornServer(now=kernel.clock.now, tls=open_tls(config.tls) if config.tls is not None else None)


SERVERS: Final[dict[str, OpenServer]] = {"fast": open_fast, "hypercorn": open_hypercorn}
"""By the value of the key `server`."""


@attrs.define(eq=False)
class HttpModule:
    """Serves `http` triggers (and their old name `api`) on one address. Keeps nothing: a restart binds everything anew.

    Args:
      config: its block in the configuration file.
      owner: the module as the kernel knows it.
      network: opens the listeners.
      open_server: makes the server that speaks HTTP on them; None for the one that the settings name.
      turn: the turn that all connections of the engine have in common.
      live: its configuration entry, whose value counts more than `config` and may change; None: it does not.
    """

    config: HttpConfig
    owner: ModuleOwner
    network: Network
    open_server: OpenServer | None = None
    live: LiveConfig[HttpConfig] | None = None
    turn: Turn = attrs.field(factory=Turn, repr=False)
    address: tuple[str, int] | None = attrs.field(default=None, init=False)
    _gateway: Gateway = attrs.field(init=False)
    _shortcuts: FunctionShortcuts = attrs.field(init=False)
    _site: Site | None = attrs.field(default=None, init=False)
    _sites: trio.Nursery | None = attrs.field(default=None, init=False)

    async def run(self, kernel: Kernel, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, or until `request_stop` and the last answer.

        Started once the address is bound. Cancellation cuts every connection and closes the listeners; functions that
        were called run on. Raises BindError.
        """
        failure: Exception | None = None
        try:
            await self._run(kernel, task_status)
        except ExceptionGroup as group:
            failure = ungrouped(group)
        if failure is not None:  # raised here, it keeps its own cause
            raise failure

    async def _run(self, kernel: Kernel, task_status: trio.TaskStatus[None]) -> None:
        stored = await self.live.load(kernel) if self.live is not None else None
        self._gateway = Gateway(kernel, stored or self.config, RouteTable())
        self._shortcuts = FunctionShortcuts(lambda: self._gateway)
        with ExitStack() as stack:
            stack.enter_context(kernel.when_draining(self.stop_accepting))
            stack.enter_context(self._serve_triggers(kernel, Binder(self._gateway.routes)))
            async with trio.open_nursery() as self._sites:
                await self._open_first(kernel, stored)
                await self._follow(kernel, stack, task_status, is_live=stored is not None)

    async def _follow(
        self, kernel: Kernel, stack: ExitStack, task_status: trio.TaskStatus[None], *, is_live: bool
    ) -> None:
        """Be open for business, and have the entry followed until `stack` ends."""
        self._warn(self._gateway.config)
        if self.live is None:
            task_status.started()
            return
        follower = stack.enter_context(self.live.following(kernel, self.owner, self.apply))
        task_status.started()
        if is_live:
            await follower.catch_up()  # what was changed between the reading and the subscription

    async def _open_first(self, kernel: Kernel, stored: HttpConfig | None) -> None:
        """Bind the stored address; where that fails, the file's, unless more machines could reach it (3.4)."""
        try:
            await self._open(kernel, stored or self.config)
        except IIIError as error:
            if stored is None or not may_replace(stored, self.config):
                raise
            _log.error("%s; the address in the configuration file is used", error)
            self._use(attrs.evolve(stored, host=self.config.host, port=self.config.port))
            await self._open(kernel, self._gateway.config)

    async def _open(self, kernel: Kernel, config: HttpConfig) -> None:
        """Serve on the address of `config`, and then let go of the one before. Raises an IIIError that names the address."""
        assert self._sites is not None
        host = config.host.strip("[]")
        open_server = self.open_server or SERVERS[config.server]
        site = Site(open_server(kernel, config, self.turn), self.network)
        bound = await self._sites.start(site.run, host, self._port(kernel, config), self.handle, self._shortcuts)
        former, self._site = self._site, site
        self.address = config.host, bound
        kernel.services.register(ADDRESS_SERVICE, self.address)
        _log.info("API listening on address: %s:%s", *self.address)
        if former is not None:
            former.retire()
        if self._gateway.stopping:  # the engine began to stop meanwhile
            site.server.stop_accepting()

    def _port(self, kernel: Kernel, config: HttpConfig) -> int:
        """The configured port; where that is any, the one of the incarnation before, which clients know."""
        before = kernel.services.get(ADDRESS_SERVICE)
        return config.port or (before[1] if self._site is None and isinstance(before, tuple) else 0)

    async def handle(self, request: Request) -> Response:
        """Answer a request by the settings of this moment, which it keeps to its end."""
        return await self._gateway.handle(request)

    async def apply(self, config: HttpConfig) -> None:
        """Take new settings into force, all of them or none: the log says why not (3.4).

        Requests that run keep the settings they began with. Another address is bound before the old one is let go.
        """
        former = self._gateway.config
        if self._gateway.stopping or config == former:
            return
        moves = (config.host, config.port) != (former.host, former.port)
        if moves:
            try:
                await self._open(self._gateway.kernel, config)
            except IIIError as error:
                _log.error("%s; the http module keeps its address and all its settings", error)
                return
        self._use(config)
        self._warn(config)
        _log.info("the http module has new settings")
        if not moves and (waiting := waiting_keys(former, config)):
            _log.warning(
                "these keys of the http module take effect with another address, or when it is started again: %s",
                ", ".join(waiting),
            )

    def _use(self, config: HttpConfig) -> None:
        self._gateway = self._gateway.with_config(config)

    def stop_accepting(self) -> None:
        """Close the listeners and answer 503 to what still comes on open connections. For the engine's drain."""
        if self._site is not None:
            self._gateway.stopping = True
            self._site.server.stop_accepting()

    def request_stop(self) -> None:
        """Stop accepting, close idle connections and end once the running requests have their answers."""
        self.stop_accepting()
        if self._site is not None:
            self._site.server.request_stop()

    def _serve_triggers(self, kernel: Kernel, binder: Binder) -> AbstractContextManager[None]:
        return kernel.triggers.serve(
            TYPE,
            binder.bind,
            owner=self.owner,
            description=DESCRIPTION,
            alias=ALIAS,
            trigger_request_format=TRIGGER_FORMAT,
            call_request_format=REQUEST_FORMAT,
            response_format=RESPONSE_FORMAT,
        )

    def _warn(self, config: HttpConfig) -> None:
        cors = config.cors
        if config.concurrency_request_limit < 1:
            _log.warning("concurrency_request_limit 0 would answer nothing: 1 is used")
        if cors is not None and "*" in cors.allowed_origins and len(cors.allowed_origins) > 1:
            _log.warning("cors.allowed_origins names `*` and others: every origin is allowed")
