"""One address on which requests are answered: its listeners, the server on them, and its end (http.md 3)."""

import errno
from typing import Final, Protocol

import attrs
import trio

from iii_trio.protocol.errors import IIIError

from .seam import FindShortcut, HttpServer, Listeners, RequestHandler

_CLOSE_BUDGET: Final = 1.0
_DRAIN_BUDGET: Final = 10.0


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


@attrs.define(eq=False)
class Site:
    """A server on listeners of its own."""

    server: HttpServer
    network: Network
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def run(
        self,
        host: str,
        port: int,
        handler: RequestHandler,
        find_shortcut: FindShortcut,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Bind, and answer until cancelled or asked to stop. Started with the port; raises an error that names the address.

        The listeners are closed at the end whatever happens: a restart must find the address free.
        """
        listeners = await self._bind(host, port)
        try:
            with self._scope:
                bound = _Bound(task_status, self.network, listeners)
                await self.server.serve(listeners, handler, find_shortcut=find_shortcut, task_status=bound)
        finally:
            with trio.move_on_after(_CLOSE_BUDGET, shield=True):
                for listener in listeners:
                    await listener.aclose()

    async def _bind(self, host: str, port: int) -> Listeners:
        try:
            return await self.network.open_listeners(host, port)
        except OSError as error:
            raise BindError(host, port, error) from error

    def retire(self) -> None:
        """Close the listeners and what is idle; requests that run have 10 s for their answers (3.4)."""
        self.server.request_stop()
        self._scope.deadline = trio.current_time() + _DRAIN_BUDGET


@attrs.frozen
class _Bound:
    """Tells whoever waits for the server which port it has."""

    inner: trio.TaskStatus[int]
    network: Network
    listeners: Listeners

    def started(self, _: None = None) -> None:
        self.inner.started(self.network.port_of(self.listeners))
