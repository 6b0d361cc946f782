"""The http module: its life between the kernel and a listening socket (http.md 3)."""

import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final, Protocol

import attrs
import trio

from iii_trio.kernel import Kernel, ModuleOwner
from iii_trio.protocol.errors import IIIError

from .config import HttpConfig
from .gateway import Gateway
from .routes import RouteTable
from .seam import HttpServer, Listeners
from .triggers import ALIAS, DESCRIPTION, REQUEST_FORMAT, RESPONSE_FORMAT, TRIGGER_FORMAT, TYPE, Binder

_log = logging.getLogger("iii_trio.http")
ADDRESS_SERVICE: Final = "http_address"
_CLOSE_BUDGET: Final = 1.0


class BindError(IIIError):
    """The configured address cannot be bound. `host` and `port` name it, the cause is the system's error."""

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        if cause.errno == errno.EADDRINUSE:
            text = f"address {host}:{port} is already in use"
        else:
            text = f"failed to bind to {host}:{port}: {cause}"
        super().__init__(text)
        self.host, self.port = host, port


class Network(Protocol):
    """Where listeners come from: the engine's network, or a fake one in a test."""

    async def open_listeners(self, host: str, port: int) -> Listeners:
        """Bind and listen; port 0 takes a free one. Raises OSError, or an error of its own that says what is wrong."""
        ...

    def port_of(self, listeners: Listeners) -> int:
        """The port that was bound."""
        ...


OpenServer = Callable[[Kernel, HttpConfig], HttpServer]


def open_fast(kernel: Kernel, config: HttpConfig) -> HttpServer:  # noqa: ARG001  # an `OpenServer`
    """The engine's own server."""
    from .fast_server import FastServer

    return FastServer(now=kernel.clock.now)


def open_hypercorn(kernel: Kernel, config: HttpConfig) -> HttpServer:
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
      open_server: makes the server that speaks HTTP on them; None for the one that `config` names.
    """

    config: HttpConfig
    owner: ModuleOwner
    network: Network
    open_server: OpenServer | None = None
    address: tuple[str, int] | None = attrs.field(default=None, init=False)
    _server: HttpServer | None = attrs.field(default=None, init=False)
    _gateway: Gateway | None = attrs.field(default=None, init=False)

    async def run(self, kernel: Kernel, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, or until `request_stop` and the last answer.

        Started once the address is bound. Cancellation cuts every connection and closes the listeners; functions that
        were called run on. Raises BindError.
        """
        self._warn()
        self._gateway = gateway = Gateway(kernel, self.config, RouteTable())
        open_server = self.open_server or SERVERS[self.config.server]
        self._server = server = open_server(kernel, self.config)
        with kernel.when_draining(self.stop_accepting), self._serve_triggers(kernel, Binder(gateway.routes)):
            async with self._listening(self._port(kernel)) as listeners:
                self.address = self.config.host, self.network.port_of(listeners)
                kernel.services.register(ADDRESS_SERVICE, self.address)
                _log.info("API listening on address: %s:%s", *self.address)
                await server.serve(listeners, gateway.handle, task_status=task_status)

    def _port(self, kernel: Kernel) -> int:
        """The configured port; where that is any, the one of the incarnation before, which clients know."""
        before = kernel.services.get(ADDRESS_SERVICE)
        return self.config.port or (before[1] if isinstance(before, tuple) else 0)

    def stop_accepting(self) -> None:
        """Close the listeners and answer 503 to what still comes on open connections. For the engine's drain."""
        if self._server is not None and self._gateway is not None:
            self._gateway.stopping = True
            self._server.stop_accepting()

    def request_stop(self) -> None:
        """Stop accepting, close idle connections and end once the running requests have their answers."""
        self.stop_accepting()
        if self._server is not None:
            self._server.request_stop()

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

    @asynccontextmanager
    async def _listening(self, port: int) -> AsyncIterator[Listeners]:
        """The listeners, closed at the end whatever happens: a restart must find the address free."""
        host = self.config.host.strip("[]")
        try:
            listeners = await self.network.open_listeners(host, port)
        except OSError as error:
            raise BindError(host, port, error) from error
        try:
            yield listeners
        finally:
            with trio.move_on_after(_CLOSE_BUDGET, shield=True):
                for listener in listeners:
                    await listener.aclose()

    def _warn(self) -> None:
        cors = self.config.cors
        if self.config.concurrency_request_limit < 1:
            _log.warning("concurrency_request_limit 0 would answer nothing: 1 is used")
        if cors is not None and "*" in cors.allowed_origins and len(cors.allowed_origins) > 1:
            _log.warning("cors.allowed_origins names `*` and others: every origin is allowed")
