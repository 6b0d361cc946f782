"""A child's place below a supervisor: its spec, and one incarnation after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

from ._child import Child, State
from ._errors import ActorStopped, StartError
from ._events import EventKind
from ._exits import Crashed, Exit
from ._spec import ActorStart, BranchStart, ChildSpec
from ._tree import Branch, Node, node_of


@attrs.define(eq=False)
class Place:
    """Owns the incarnations of one child of `above`. Ends nobody asked for are given to `report`."""

    spec: ChildSpec
    path: str
    above: Branch
    nursery: trio.Nursery
    report: Callable[[tuple[Place, Child]], None]
    state: State = "stopped"
    incarnation: int = 0
    child: Child | None = None
    last_exit: Exit | None = None
    due: float = math.inf  # when a postponed restart is to be tried
    _attempts: int = -1
    _ready_at: float = math.inf

    async def start(self) -> bool:
        """Start the next incarnation and wait until it is ready; `False` if it ended before that."""
        self.state, self.due, self._ready_at = "starting", math.inf, math.inf
        self.incarnation += 1
        settled = trio.Event()
        child = self.child = Child(self.spec.name, self.path, self._on_ended, None, settled, self._on_ready)
        self.nursery.start_soon(child.run, self._launch, name=self.path)
        await settled.wait()
        return child.ready

    async def _launch(self, *, task_status: Child) -> object:
        start = self.spec.start
        if not isinstance(start, BranchStart):
            return await start(task_status=task_status)
        branch = task_status.value = start.factory()
        branch.adopt(self.path, self.above.events, self.above.random)
        return await branch.run(task_status=task_status)

    async def stop(self) -> None:
        """Stop what runs here, within its budget; afterwards nothing does, and no restart is due."""
        self.due = math.inf
        if self.child is not None and self.child.exit is None:
            self.state = "stopping"
            await self.child.stop(self.spec.shutdown)
        self.state = "stopped"

    def start_error(self) -> StartError:
        """Say why the start failed; a supervisor's own `StartError` names the child better."""
        cause = self.last_exit.error if isinstance(self.last_exit, Crashed) else ActorStopped(self.path)
        return cause if isinstance(cause, StartError) else StartError(self.path, cause)

    def start_failed(self) -> None:
        """Queue the failed restart behind whatever else has happened: it is not looped, and counts as a restart."""
        assert self.child is not None
        self.state = "restarting"
        self.report((self, self.child))

    def _on_ready(self) -> None:
        self._ready_at = trio.current_time()
        self.state = "running"
        self.above.events.emit("started" if self.incarnation == 1 else "restarted", self.path, self.incarnation)

    def _on_ended(self, child: Child) -> None:
        self.last_exit = child.exit
        if self.state == "running":
            self.state = "stopped"
            self.report((self, child))
        kind: EventKind = "crashed" if isinstance(child.exit, Crashed) else "stopped"
        self.above.events.emit(kind, self.path, self.incarnation, child.exit)

    def next_delay(self) -> float:
        """Return the pause, in seconds, before the restart now needed."""
        backoff = self.spec.backoff
        if backoff is None:
            return 0.0
        was_well = trio.current_time() - self._ready_at >= backoff.maximum
        self._attempts = 0 if was_well else self._attempts + 1
        return backoff.delay(self._attempts, self.above.random)

    def node(self, path: str, restarts: int) -> Node:
        """Describe the child, and what is below it, as seen at `path`; `restarts` of it are in the window."""
        node = Node(path, "task") if self.child is None else node_of(self.child, path)
        return attrs.evolve(
            node,
            kind="actor" if isinstance(self.spec.start, ActorStart) else node.kind,
            state=node.state if self.state == "running" else self.state,
            incarnation=self.incarnation,
            restarts_in_window=restarts if node.strategy is None else node.restarts_in_window,
            last_exit=self.last_exit,
        )
