"""Children that come and go: started at any time, never restarted, stopped together."""

from collections.abc import Iterator
from typing import Any

import attrs
import trio

from ._child import Child, OnExit, Task
from ._errors import ActorError, MaxChildrenReached, StartError, SupervisorStopped
from ._exits import Crashed
from ._tree import Branch, Node, node_of


@attrs.frozen
class DynamicStatistics:
    """A snapshot; `started` and `crashed` count since the supervisor was made."""

    started: int
    crashed: int
    running: int
    max_children: int | None


@attrs.define(eq=False)
class DynamicSupervisor(Branch):
    """Gives work that may start at any time an owner, a scope and a bound. Iterates over its children, oldest first.

    Args:
      name: its path, unless a supervisor above gives it another.
      max_children: running at once; `None` is no bound.
      shutdown: seconds all children together have to stop. One without `request_stop` is cancelled at once.
      events: where crashes are told (other steps are not: there may be thousands a second).
    """

    max_children: int | None = attrs.field(default=None, kw_only=True)
    shutdown: float = attrs.field(default=5.0, kw_only=True)
    _children: dict[Child, None] = attrs.field(factory=dict, init=False)
    _started: int = attrs.field(default=0, init=False)
    _crashed: int = attrs.field(default=0, init=False)
    _empty: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __iter__(self) -> Iterator[Child]:
        return iter(tuple(self._children))

    def start_soon(self, fn: Task, *args: Any, name: str, on_exit: OnExit | None = None) -> Child:
        """Run `fn(*args)` as a child, from the next turn of the scheduler on.

        `on_exit` is called in the child's task when it has ended and its place is free again; its errors are logged.
        Raises `MaxChildrenReached`, or `SupervisorStopped` if this is not running or about to stop.
        """
        child = Child(name, f"{self.path}/{name}", self._on_ended, on_exit)
        self._spawn(child, fn, args)
        return child

    async def start(self, fn: Task, *args: Any, name: str, on_exit: OnExit | None = None) -> tuple[Child, Any]:
        """Run `fn(*args, task_status=...)` as a child; return it and its started value once it is ready.

        Cancelled while waiting, it kills the child. Raises as `start_soon` does (`SupervisorStopped` also if the stop
        begins while waiting), and `StartError` if the child ended before it was ready.
        """
        settled = trio.Event()
        child = Child(name, f"{self.path}/{name}", self._on_ended, on_exit, settled)
        self._spawn(child, fn, args)
        try:
            await settled.wait()
        finally:
            if not child.ready:
                child.cancel("nobody waits for its start any more")
        if child.ready:
            return child, child.value
        if isinstance(child.exit, Crashed):
            raise StartError(child.path, child.exit.error)
        raise SupervisorStopped(self.path)

    def _spawn(self, child: Child, fn: Task, args: tuple[Any, ...]) -> None:
        if self._state != "running":
            raise SupervisorStopped(self.path)
        if self.max_children is not None and len(self._children) >= self.max_children:
            raise MaxChildrenReached(self.path, self.max_children)
        self._nursery.start_soon(child.run, fn, *args, name=child.path)
        self._children[child] = None
        self._started += 1

    def _on_ended(self, child: Child) -> None:
        del self._children[child]
        if isinstance(child.exit, Crashed):
            self._crashed += 1
            self.events.emit("crashed", child.path, 1, child.exit)
        if not self._children:
            self._empty.set()

    async def _live(self, task_status: trio.TaskStatus[Any]) -> ActorError | None:
        self._state = "running"
        task_status.started(self)
        await trio.sleep_forever()

    async def _stop_children(self) -> None:
        self._empty = trio.Event()
        for child in self:
            child.ask_to_stop()
        with trio.move_on_after(self.shutdown):
            while self._children:
                await self._empty.wait()
        for child in self:
            child.enforce_stop(self.shutdown)

    def statistics(self) -> DynamicStatistics:
        return DynamicStatistics(self._started, self._crashed, len(self._children), self.max_children)

    def node(self, path: str) -> Node:
        below = tuple(node_of(child, f"{path}/{child.name}") for child in self)
        return Node(path, "dynamic", None, self._state, self._runs, children=below)
