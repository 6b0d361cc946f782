"""Where listeners come from: TCP in production, memory in tests. A taken port is one clear error naming its owner."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import attrs
import trio

from iii_trio.protocol.errors import IIIError

Listener = trio.abc.Listener[trio.abc.Stream]
_LISTENING = "0A"
_BACKLOG = 4096


class AddressTaken(IIIError):
    """Somebody listens there already."""

    def __init__(self, host: str, port: int, owner: str | None) -> None:
        by = f" by {owner}" if owner else ""
        super().__init__(f"address {host}:{port} is already in use{by}")


class AddressUnusable(IIIError):
    """The address cannot be bound for another reason: no such interface, no permission."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"failed to bind to {host}:{port}: {reason}")


class Network(Protocol):
    """Opens listeners for modules and for the worker port."""

    async def open_listeners(self, host: str, port: int) -> Sequence[Listener]:
        """Bind; port 0 is an ephemeral one. Raises AddressTaken, AddressUnusable."""
        ...

    def port_of(self, listeners: Sequence[Listener]) -> int:
        """The port that was bound."""
        ...


@attrs.frozen
class TcpNetwork:
    """The machine's network."""

    async def open_listeners(self, host: str, port: int) -> Sequence[Listener]:
        name = host.removeprefix("[").removesuffix("]")
        try:
            if port == 0:  # each address of a name would get a port of its own
                first, *others = await trio.open_tcp_listeners(0, host=name, backlog=_BACKLOG)
                for other in others:
                    await other.aclose()
                return [first]
            return await trio.open_tcp_listeners(port, host=name, backlog=_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressTaken(host, port, port_owner(port)) from error
            raise AddressUnusable(host, port, error.strerror or str(error)) from error

    def port_of(self, listeners: Sequence[Listener]) -> int:
        first = listeners[0]
        assert isinstance(first, trio.SocketListener)
        return int(first.socket.getsockname()[1])


def port_owner(port: int) -> str | None:
    """Who listens on a TCP port: `name (pid N)`, or this process itself; None if this process may not see it."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        if any(_target(descriptor) in sockets for descriptor in _entries(process / "fd")):
            if process.name == str(os.getpid()):
                return "another listener of this process"
            name = (process / "comm").read_text().strip()
            return f"{name} (pid {process.name})"
    return None


def _listening_inodes(port: int) -> list[str]:
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # not Linux, or no IPv6
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.append(fields[9])
    return inodes


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # another user's process, or one that has just ended


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
