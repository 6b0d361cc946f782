"""What httpcore2 stands on here: Trio streams to addresses that were checked, and TLS settings made once."""

import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import httpcore2
import trio

from .outbound import Outbound, connect_first

SCHEMES: Final = ("http", "https")
_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class Origin:
    """One scheme, host and port while requests to it are under way."""

    slots: trio.Semaphore
    addresses: tuple[str, ...] | None = None
    """Those that passed the latest check; every connection made now goes to one of them."""


Origins = dict[tuple[str, str, int], Origin]


@attrs.define(eq=False)
class Tls:
    """The TLS settings of a client, made once, in a thread: that reads the files of the authorities."""

    _make: Callable[[], ssl.SSLContext]
    _made: ssl.SSLContext | None = None
    _lock: trio.Lock = attrs.field(factory=trio.Lock)

    async def get(self) -> ssl.SSLContext:
        """The settings. Cancelled: the next one who asks makes them."""
        async with self._lock:
            if self._made is None:
                made = await trio.to_thread.run_sync(self._make)
                made.set_alpn_protocols(["http/1.1"])
                self._made = made
            return self._made


@attrs.define(eq=False)
class Backend(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that were checked for the host. Time-outs are cancel scopes of the callers."""

    _outbound: Outbound
    _origins: Origins
    _tls: Tls

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = self._checked(host, port) or await self._outbound.resolve(host, port)
            stream = await connect_first(self._outbound, addresses, port)
        except OSError as error:
            raise httpcore2.ConnectError(f"cannot connect to {host}:{port}: {error}") from error
        return _Stream(stream, self._tls)

    def _checked(self, host: str, port: int) -> Sequence[str] | None:
        origins = (self._origins.get((scheme, host, port)) for scheme in SCHEMES)
        return next((origin.addresses for origin in origins if origin is not None and origin.addresses), None)


@attrs.define(eq=False)
class _Stream(httpcore2.AsyncNetworkStream):
    _stream: trio.abc.Stream
    _tls: Tls

    async def read(self, max_bytes: int, *_: Any, **__: Any) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except _BROKEN as error:
            raise httpcore2.ReadError(text_of(error)) from error

    async def write(self, buffer: bytes, *_: Any, **__: Any) -> None:
        try:
            await self._stream.send_all(buffer)
        except _BROKEN as error:
            raise httpcore2.WriteError(text_of(error)) from error

    async def start_tls(self, *_: Any, server_hostname: str | None = None, **__: Any) -> httpcore2.AsyncNetworkStream:
        """TLS for that name, with the client's settings in place of the pool's. What fails is closed."""
        try:
            return await self._start_tls(server_hostname)
        except BaseException:
            await self.aclose()
            raise

    async def _start_tls(self, name: str | None) -> httpcore2.AsyncNetworkStream:
        stream = trio.SSLStream(self._stream, await self._tls.get(), server_hostname=name, https_compatible=True)
        try:
            await stream.do_handshake()
        except (*_BROKEN, OSError) as error:  # ssl.SSLError among them
            raise httpcore2.ConnectError(f"TLS with {name} failed: {text_of(error)}") from error
        return _Stream(stream, self._tls)

    async def aclose(self) -> None:
        """Close without a goodbye, which a peer that reads nothing would hold up; HTTP says where bodies end."""
        await trio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> Any:
        """Whether an idle connection has bytes to read, which means that the peer has closed it."""
        stream: Any = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if info == "is_readable" and isinstance(stream, trio.SocketStream):
            return stream.socket.is_readable()
        return None


def text_of(error: BaseException) -> str:
    """What happened, from the error that says it: Trio's and httpcore2's are often empty around it."""
    inner: BaseException | None = error
    while inner is not None:
        if text := str(inner):
            return text
        inner = inner.__cause__
    return type(error).__name__
