"""Trigger types `engine::workers-available` and `engine::functions-available` (wire-protocol 13.8).

Every subscriber has its own bounded feed and task: one that does not keep up loses its oldest news and delays nobody.
Nothing is listened to or polled while a type has no subscriber.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import attrs
import trio

from iii_trio.kernel import Bus, Kernel, Session, Trigger
from iii_trio.kernel.labels import shown
from iii_trio.kernel.triggers import Unbind
from iii_trio.protocol import Payload
from iii_trio.protocol.errors import InvocationError

from ._functions import in_order, seen_by
from ._rows import Reader, function_row

_log = logging.getLogger("iii_trio.engine_functions")
WORKER_EVENTS: Final = ("worker_connected", "worker_metadata_updated", "worker_disconnected")
WORKER_FEED_LIMIT = 1_000
FUNCTION_FEED_LIMIT = 1  # a newer list says all that an older one did
POLL_INTERVAL = 5.0
Stop = Callable[[], None]


@attrs.frozen
class FeedStatistics:
    """Subscribers now; payloads dropped since the module started, because a feed was full."""

    subscribers: int
    dropped: int


@attrs.define(eq=False)
class Feed:
    """What one subscriber is still to be told, in order."""

    trigger: Trigger
    limit: int
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    dropped: int = 0
    _send: trio.MemorySendChannel[Payload] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Payload] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Payload](self.limit)

    def put(self, payload: Payload) -> bool:
        """Queue a payload; if the feed is full the oldest makes room, and the answer is False."""
        try:
            self._send.send_nowait(payload)
        except trio.WouldBlock:
            self._receive.receive_nowait()
            self._send.send_nowait(payload)
            self.dropped += 1
            return False
        return True

    async def run(self, bus: Bus) -> None:
        """Invoke the trigger's function with each payload until cancelled; what it answers is of no interest."""
        with self._send, self._receive, self.scope:
            async for payload in self._receive:
                try:
                    await bus.notify(
                        self.trigger.function_id,
                        payload,
                        namespace=self.trigger.namespace,
                        metadata=self.trigger.metadata,
                    )
                except InvocationError as error:
                    _log.debug("trigger %s could not fire: %s", shown(self.trigger.id), shown(error))


class Source(Protocol):
    """Where the news of a trigger type come from."""

    def start(self, feeds: "Feeds") -> Stop:
        """Begin to publish to `feeds`; the returned function ends it."""
        ...


@attrs.define(eq=False)
class Feeds:
    """The subscribers of one trigger type. Its source runs only while there is one."""

    bus: Bus
    nursery: trio.Nursery
    source: Source
    limit: int
    _feeds: dict[Feed, None] = attrs.field(factory=dict)
    _stop: Stop | None = None
    _dropped: int = 0

    def bind(self, trigger: Trigger) -> Unbind:
        """Open a feed for a trigger; the returned function closes it, dropping what it still holds."""
        feed = Feed(trigger, self.limit)
        self._feeds[feed] = None
        self.nursery.start_soon(feed.run, self.bus, name=f"{trigger.trigger_type}/{trigger.id}")
        if self._stop is None:
            self._stop = self.source.start(self)
        return partial(self._unbind, feed)

    def _unbind(self, feed: Feed) -> None:
        del self._feeds[feed]
        feed.scope.cancel(reason="the trigger was removed")
        if not self._feeds and self._stop is not None:
            self._stop()
            self._stop = None

    def publish(self, payload_for: Callable[[Trigger], Payload]) -> None:
        """Queue a payload of its own for every subscriber. Never waits."""
        for feed in self._feeds:
            if not feed.put(payload_for(feed.trigger)):
                self._note_drop(feed)

    def _note_drop(self, feed: Feed) -> None:
        self._dropped += 1
        if feed.dropped & (feed.dropped - 1) == 0:  # at 1, 2, 4, 8, ...: a stuck subscriber must not flood the log
            _log.warning("trigger %s is behind: %d events dropped so far", shown(feed.trigger.id), feed.dropped)

    def statistics(self) -> FeedStatistics:
        """Counts, for monitoring."""
        return FeedStatistics(len(self._feeds), self._dropped)


@attrs.frozen
class WorkerEvents:
    """Publishes connects, announcements and disconnects the moment they happen."""

    kernel: Kernel

    def start(self, feeds: Feeds) -> Stop:
        return self.kernel.events.listen(partial(self._hear, feeds))

    def _hear(self, feeds: Feeds, kind: str, subject: str) -> None:
        if kind in WORKER_EVENTS:
            news = {"event": kind, "worker_id": subject}
            feeds.publish(lambda _: Payload.of(news))


@attrs.frozen
class FunctionEvents:
    """Publishes the list of functions when the set of ids has changed since the last look, five seconds before.

    Before the first subscriber nobody looked, so its first list comes after five seconds in any case.
    """

    kernel: Kernel
    nursery: trio.Nursery

    def start(self, feeds: Feeds) -> Stop:
        scope = trio.CancelScope()
        self.nursery.start_soon(self._poll, feeds, scope, name="engine::functions-available/poll")
        return partial(scope.cancel, reason="nobody listens")

    async def _poll(self, feeds: Feeds, scope: trio.CancelScope) -> None:
        known: set[tuple[str, str]] | None = None
        seen: int | None = None
        with scope:
            while True:
                await trio.sleep(POLL_INTERVAL)
                if self.kernel.functions.changes == seen:
                    continue
                seen = self.kernel.functions.changes
                ids = {(function.namespace, function.id) for function in self.kernel.functions}
                if ids != known:
                    feeds.publish(self._list())
                known = ids

    def _list(self) -> Callable[[Trigger], Payload]:
        """The functions each subscriber may know of, as it can read them (11.9, 13.9); encoded once per kind of reader."""
        functions = in_order(self.kernel.functions)
        lists: dict[tuple[Reader, Session | None], Payload] = {}

        def payload_for(trigger: Trigger) -> Payload:
            target = self.kernel.functions.find(trigger.namespace, trigger.function_id)
            worker = target.worker if target is not None else None
            reader = Reader.of(worker)
            key = (reader, worker.session if worker is not None else None)
            if key not in lists:
                rows = [function_row(function, reader) for function in seen_by(worker, functions)]
                lists[key] = Payload.of({"event": "functions_changed", "functions": rows})
            return Payload(lists[key].raw)

        return payload_for
