"""The way out of this process: names to addresses, addresses to streams. TCP in production, a fake one in tests."""

import socket
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

import attrs
import trio

_LOOKUPS: Final = 16
_ATTEMPTS: Final = 8
_STAGGER: Final = 0.25
"""Seconds an address may take before the next one is tried beside it (RFC 8305)."""


class Outbound(Protocol):
    """What a client needs of the network. Both methods raise OSError."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name, the preferred one first. Cancelled: the lookup is given up."""
        ...

    async def connect(self, address: str, port: int) -> trio.abc.Stream:
        """Connect to an address; it is never looked up."""
        ...


@attrs.define(eq=False)
class TcpOutbound:
    """The machine's resolver and TCP. Lookups have threads of their own: a dead resolver holds up no other work."""

    _lookups: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(_LOOKUPS))

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        lookup = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = await trio.to_thread.run_sync(lookup, abandon_on_cancel=True, limiter=self._lookups)
        except UnicodeError as error:  # a label that Python cannot write as DNS wants it
            raise OSError(f"{host!r} is no host name") from error
        return tuple(dict.fromkeys(str(row[4][0]) for row in found))

    async def connect(self, address: str, port: int) -> trio.abc.Stream:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            await opened.connect((address, port))
        except BaseException:
            opened.close()
            raise
        return trio.SocketStream(opened)


async def connect_first(outbound: Outbound, addresses: Sequence[str], port: int) -> trio.abc.Stream:
    """Connect to the first of `addresses` that answers; each gets a head start of 0.25 s, eight are tried.

    Raises OSError, from the last failure, if none does. Cancelled: nothing stays open.
    """
    race = _Race(outbound, port)
    try:
        async with trio.open_nursery() as nursery:
            for address in addresses[:_ATTEMPTS]:
                ended = trio.Event()
                nursery.start_soon(race.attempt, address, ended, nursery.cancel_scope, name=f"connect/{address}")
                with trio.move_on_after(_STAGGER):
                    await ended.wait()
        if race.winner is None:
            raise OSError("; ".join(map(str, race.failures)) or "no address") from next(iter(race.failures), None)
    except BaseException:
        if race.winner is not None:
            await trio.aclose_forcefully(race.winner)
        raise
    return race.winner


@attrs.define(eq=False)
class _Race:
    outbound: Outbound
    port: int
    winner: trio.abc.Stream | None = None
    failures: list[OSError] = attrs.field(factory=list)

    async def attempt(self, address: str, ended: trio.Event, others: trio.CancelScope) -> None:
        try:
            stream = await self.outbound.connect(address, self.port)
        except OSError as error:
            self.failures.append(error)
        else:
            await self._take(stream, others)
        finally:
            ended.set()

    async def _take(self, stream: trio.abc.Stream, others: trio.CancelScope) -> None:
        if self.winner is None:
            self.winner = stream
            others.cancel(reason="another address has answered")
        else:
            await trio.aclose_forcefully(stream)
