"""Which of many idle sockets can be read, asked of the system for all of them at once."""

import select
from collections.abc import Callable
from typing import Final

import attrs
import trio

_AT_ONCE: Final = 64
"""Sockets that are served before other tasks have their turn."""

IS_AVAILABLE: Final = hasattr(select, "epoll")


@attrs.define(eq=False)
class Readiness:
    """A set of sockets of which each has a callback for when it can be read.

    Waiting for a socket by Trio's means takes a task that wakes up and a system call to have it watched again, each time;
    this takes neither. Only where `IS_AVAILABLE`.
    """

    _callbacks: dict[int, Callable[[], object]] = attrs.field(factory=dict, init=False)
    _set: "select.epoll" = attrs.field(factory=select.epoll, init=False)

    def watch(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Call `callback` whenever the socket can be read, again and again while it can. It must neither wait nor raise."""
        self._callbacks[descriptor] = callback
        self._set.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int) -> None:
        """Watch it no more. To be called before the socket is closed."""
        del self._callbacks[descriptor]
        self._set.unregister(descriptor)

    async def wait(self) -> None:
        """Wait until one of them can be read. Raises trio.ClosedResourceError after `close`."""
        if self._set.closed:
            raise trio.ClosedResourceError("no socket is watched any more")
        await trio.lowlevel.wait_readable(self._set.fileno())

    def collect(self) -> None:
        """Make the calls of those that can be read, up to so many that others have their turn, too."""
        if self._set.closed:
            return  # since `wait` returned
        for descriptor, _ in self._set.poll(0, _AT_ONCE):
            callback = self._callbacks.get(descriptor)
            if callback is not None:  # a call before may have ended it
                callback()

    def close(self) -> None:
        """Watch nothing any more, and let who waits go."""
        trio.lowlevel.notify_closing(self._set.fileno())
        self._set.close()
