"""What a socket link needs of a connection, and where it leads."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from ssl import SSLContext
from typing import Protocol
from urllib.parse import urlsplit

import attrs
import trio

from iii_trio.protocol.errors import IIIError


class LinkLost(IIIError):
    """There is no connection, or no longer; the text says why. Workers reconnect and never let it out."""


class Wire(Protocol):
    """An open connection. Every method raises LinkLost once it has ended."""

    async def receive(self) -> bytes:
        """Wait for the next message."""
        ...

    async def send(self, data: bytes) -> None:
        """Send one message. Cancelled half-way, the connection is of no more use."""
        ...

    async def ping(self) -> None:
        """Send a ping and wait for its pong."""
        ...

    async def aclose(self) -> None:
        """Say goodbye and wait for the answer."""
        ...


Dial = Callable[[], AbstractAsyncContextManager[Wire]]
"""Opens a connection for the length of a block; raises LinkLost if it cannot."""

OpenStream = Callable[[], Awaitable[trio.abc.Stream]]


@attrs.frozen
class Address:
    """Where the engine listens: `ws://host:port/path?query`, or `wss://`."""

    host: str
    port: int
    resource: str
    secure: bool

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Take a URL apart; raises ValueError if it is not a WebSocket URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"ws", "wss"} or not parts.hostname:
            raise ValueError(f"not a WebSocket URL (ws://host:port or wss://host:port): {url!r}")
        secure = parts.scheme == "wss"
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, parts.port or _default_port(secure=secure), resource, secure)

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(secure=self.secure) else f"{host}:{self.port}"

    async def open_stream(self, ssl_context: SSLContext | None) -> trio.abc.Stream:
        """Open a TCP or TLS stream; raises OSError."""
        if not self.secure:
            return await trio.open_tcp_stream(self.host, self.port)
        return await trio.open_ssl_over_tcp_stream(self.host, self.port, ssl_context=ssl_context, https_compatible=True)


def _default_port(*, secure: bool) -> int:
    return 443 if secure else 80
