"""One connection after the other, for ever: greeting, reading, writing, pinging, and the pause before the next."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Final, Protocol

import attrs
import trio

from actors import Backoff
from iii_trio.protocol import BadAction, decode
from iii_trio.protocol.errors import RemoteProtocolError
from iii_trio.protocol.messages import AnyMessage, WorkerRegistered

from ._outbox import Outbox
from .wire import Dial, LinkLost, Wire

_log = logging.getLogger("iii_trio.worker")
_SHOWN: Final = 200

RECONNECT: Final = Backoff(first=1.0, factor=2.0, maximum=30.0, jitter=0.3)
"""Seconds before the attempts to connect again (wire-protocol 15)."""
GREETING: Final = 10.0
PING_EVERY: Final = 20.0
PONG_WITHIN: Final = 60.0  # a ping queues behind what is being sent
GOODBYE: Final = 5.0


class Conversation(Protocol):
    """What is said on a connection. Nothing here waits."""

    def greeted(self, greeting: WorkerRegistered) -> Iterable[bytes]:
        """The engine has accepted a connection: what to say first."""
        ...

    def take(self, message: AnyMessage | BadAction) -> None:
        """Take a message of the engine."""
        ...

    def disconnected(self) -> None:
        """The connection has ended."""
        ...


@attrs.define(eq=False)
class Reconnecting:
    """Holds a conversation over as many connections as it takes.

    `first` is set when the engine has greeted for the first time; `made` counts the greetings.
    """

    _dial: Dial
    _outbox: Outbox
    _conversation: Conversation
    _random: Random
    first: trio.Event = attrs.field(factory=trio.Event)
    made: int = 0
    _stopping: bool = False
    _reason: str = ""
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _ended: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._outbox.on_overflow = self._end

    async def run(self) -> None:
        """Connect, and again whenever that ends, until `stop`. Cancelled, the connection ends without a goodbye."""
        failures = 0
        while not self._stopping:
            made = self.made
            await self._connect()
            failures = 0 if self.made > made else failures
            pause = RECONNECT.delay(failures, self._random)
            failures += 1
            if not self._stopping:
                _log.warning("no connection to the engine: %s; trying again in %.1f s", self._reason, pause)
                with trio.CancelScope() as self._scope:
                    await trio.sleep(pause)
        self._ended.set()

    async def stop(self) -> None:
        """End it in order: send what waits, say goodbye; within 5 seconds. Without a connection there is nothing to do."""
        if self._outbox.connected:
            with trio.move_on_after(GOODBYE):
                await self._outbox.wait_flushed()
                self._stopping = True
                self._end("the worker has ended")
                await self._ended.wait()

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._scope.cancel(reason=reason)

    async def _connect(self) -> None:
        self._reason = ""
        try:
            async with self._dial() as wire:
                await self._greet(wire)
                await self._talk(wire)
        except LinkLost as lost:
            self._reason = self._reason or str(lost)
        finally:
            if self._outbox.connected:
                self._outbox.close()
                self._conversation.disconnected()

    async def _greet(self, wire: Wire) -> None:
        """Wait for the engine's first message; nothing is said before."""
        with trio.move_on_after(GREETING):
            while not isinstance(message := _decoded(await wire.receive()), WorkerRegistered):
                pass
            self._outbox.open(self._conversation.greeted(message))
            self.made += 1
            self.first.set()
            return
        raise LinkLost(f"the engine did not greet within {GREETING:g} s")

    async def _talk(self, wire: Wire) -> None:
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self._until_lost, self._write, wire, name="worker/writer")
            nursery.start_soon(self._until_lost, self._beat, wire, name="worker/heartbeat")
            await self._until_lost(self._read, wire)
        if self._stopping:
            await wire.aclose()

    async def _until_lost(self, work: Callable[[Wire], Awaitable[None]], wire: Wire) -> None:
        """Whichever of the three notices first ends them all."""
        try:
            await work(wire)
        except LinkLost as lost:
            self._end(str(lost))

    async def _read(self, wire: Wire) -> None:
        while True:
            message = _decoded(await wire.receive())
            if message is not None:
                self._conversation.take(message)

    async def _write(self, wire: Wire) -> None:
        while True:
            frame = await self._outbox.get()
            await wire.send(frame.data)

    async def _beat(self, wire: Wire) -> None:
        while True:
            await trio.sleep(PING_EVERY)
            with trio.move_on_after(PONG_WITHIN) as deadline:
                await wire.ping()
            if deadline.cancelled_caught:
                raise LinkLost(f"the engine did not answer a ping within {PONG_WITHIN:g} s")


def _decoded(data: bytes) -> AnyMessage | BadAction | None:
    try:
        return decode(data)
    except RemoteProtocolError as error:
        _log.warning("dropped a message of the engine (%s): %r", error, data[:_SHOWN])
        return None
