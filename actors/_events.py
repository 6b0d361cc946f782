"""What happens in a tree, told as it happens."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import attrs
import trio

from ._exits import Exit

EventKind: TypeAlias = Literal["started", "crashed", "restarted", "stopped", "escalated"]

logger = logging.getLogger("actors")


@attrs.frozen
class Event:
    """One step in the life of the child (or, for `escalated`, the supervisor) at `path`.

    `started` is the readiness of the first incarnation, `restarted` of a later one. `time` is `trio.current_time()`.
    """

    kind: EventKind
    path: str
    incarnation: int
    exit: Exit | None
    time: float


@attrs.define(eq=False)
class EventFeed:
    """A bounded queue of events, to be read from `channel`. When it is full, the newest is lost and counted."""

    channel: trio.MemoryReceiveChannel[Event]
    dropped: int = 0


@attrs.define(eq=False)
class EventStream:
    """Tells every listener, in the order they came, each event at the moment it happens."""

    _listeners: dict[object, Callable[[Event], object]] = attrs.field(factory=dict, init=False)

    def listen(self, callback: Callable[[Event], object]) -> Callable[[], object]:
        """Call `callback` with every event from now on; returns what ends that. Errors in it are logged."""
        key = object()
        self._listeners[key] = callback
        return lambda: self._listeners.pop(key, None)

    @contextmanager
    def open(self, max_buffer: int = 1024) -> Iterator[EventFeed]:
        """Collect events for a task that reads them at its own pace."""
        send, receive = trio.open_memory_channel[Event](max_buffer)
        feed = EventFeed(receive)

        def put(event: Event) -> None:
            try:
                send.send_nowait(event)
            except trio.WouldBlock:
                feed.dropped += 1

        unlisten = self.listen(put)
        try:
            yield feed
        finally:
            unlisten()
            send.close()

    def emit(self, kind: EventKind, path: str, incarnation: int, exit_: Exit | None = None) -> None:
        """Tell everybody. Called by supervisors."""
        event = Event(kind, path, incarnation, exit_, trio.current_time())
        for callback in tuple(self._listeners.values()):
            call_guarded(callback, event)


def call_guarded(callback: Callable[..., object], *args: Any) -> None:
    """Call code that is not ours on a supervisor's stack, where its error would end the whole tree: log it instead."""
    try:
        callback(*args)
    except Exception:  # the child wrapper, again: no bug of a child or a listener reaches a supervisor
        logger.exception("%r raised", callback)
