"""What a running tree looks like from outside, and what its two kinds of supervisors have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random
from typing import Any, Literal, TypeAlias

import attrs
import trio

from ._child import STOPPED, Child, State
from ._errors import ActorError
from ._events import EventStream
from ._exits import Exit
from ._ref import ActorRef

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
NodeKind: TypeAlias = Literal["supervisor", "dynamic", "actor", "task"]


@attrs.frozen
class Node:
    """A snapshot of one place in the tree.

    `incarnation` counts starts from 1. `restarts_in_window` is, for a supervisor, what counts towards its own limit;
    for any other child, how many of its supervisor's counted restarts are its own. `mailbox_depth` is an actor's.
    """

    path: str
    kind: NodeKind
    strategy: Strategy | None = None
    state: State = "running"
    incarnation: int = 1
    restarts_in_window: int = 0
    last_exit: Exit | None = None
    mailbox_depth: int | None = None
    children: tuple[Node, ...] = ()


def node_of(child: Child, path: str) -> Node:
    """Describe one incarnation, and what is below it."""
    if isinstance(child.value, Branch):
        return child.value.node(path)
    if isinstance(child.value, ActorRef):
        return Node(path, "actor", state=child.state, mailbox_depth=child.value.statistics().queued)
    return Node(path, "task", state=child.state)


@attrs.define(eq=False)
class Branch(ABC):
    """A node with children below it: a seat in the tree, one run at a time, and an orderly stop."""

    name: str
    events: EventStream = attrs.field(factory=EventStream, kw_only=True)
    random: Random | None = attrs.field(default=None, kw_only=True)
    path: str = attrs.field(init=False)
    _state: State = attrs.field(default="stopped", init=False)
    _runs: int = attrs.field(default=0, init=False)
    _active: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _nursery: trio.Nursery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.path = self.name

    def adopt(self, path: str, events: EventStream, random: Random | None) -> None:
        """Take path, event stream and, unless it has one, random source from the supervisor above, before `run`."""
        self.path, self.events = path, events
        self.random = random if self.random is None else self.random

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> Exit:
        """Live until asked to stop; ready, with itself, once all its children are. May run again afterwards.

        Cancellation is an orderly stop: children get their budgets, then `Cancelled` goes on.

        Raises:
          StartError: a child did not become ready; those before it were stopped again.
          RestartLimitReached: restarts did not help; all children were stopped.
        """
        if self._state != "stopped":
            raise RuntimeError(f"{self.path} is running already")
        self._state, self._active = "starting", trio.CancelScope()
        self._runs += 1
        failure: ActorError | None = None
        try:
            async with trio.open_nursery() as outside:
                outside.start_soon(self._watch, name=f"{self.path}: cancellation watcher")
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as self._nursery:
                        with self._active:
                            failure = await self._live(task_status)
                        self._state = "stopping"
                        await self._stop_children()
                outside.cancel_scope.cancel(reason=f"{self.path} has ended")
        finally:
            self._state = "stopped"
        if failure is not None:
            raise failure  # here, where it leaves no group
        return STOPPED

    async def _watch(self) -> None:
        """Turn cancellation into a request to stop: it would hit all children at once, and their order is ours."""
        try:
            await trio.sleep_forever()
        finally:
            self.request_stop()

    def request_stop(self) -> None:
        """Begin the orderly stop, and return. Does nothing unless running."""
        if self._state != "stopped":
            self._state = "stopping"
            self._active.cancel(reason=f"{self.path} is to stop")

    def tree(self) -> Node:
        """Describe this supervisor and everything below it, as it is now."""
        return self.node(self.path)

    @abstractmethod
    async def _live(self, task_status: trio.TaskStatus[Any]) -> ActorError | None:
        """Run children until cancelled by `request_stop`, or until that is hopeless."""

    @abstractmethod
    async def _stop_children(self) -> None: ...

    @abstractmethod
    def node(self, path: str) -> Node:
        """Describe the tree as seen at `path`."""
