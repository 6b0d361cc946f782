"""A fixed list of children, started in order, kept alive, stopped in reverse."""

import math
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from ._child import Child
from ._errors import ActorError, ActorStopped, RestartLimitReached
from ._exits import Crashed, Exit
from ._place import Place
from ._spec import ChildSpec
from ._tree import Branch, Node, Strategy


def _by_name(specs: Iterable[ChildSpec]) -> dict[str, ChildSpec]:
    named: dict[str, ChildSpec] = {}
    for spec in specs:
        if named.setdefault(spec.name, spec) is not spec:
            raise ValueError(f"two children are named {spec.name!r}")
    return named


@attrs.define(eq=False)
class Supervisor(Branch):
    """Keeps its children running: starts them in order, restarts what ends, stops them in reverse order.

    Args:
      name: its path, unless a supervisor above gives it another; `children` are in starting order.
      strategy: who is restarted with a child: `one_for_one` nobody, `one_for_all` everybody, `rest_for_one` those after.
      intensity: restarts let through in any `period` seconds; the next one needed is the end of this supervisor.
      random: spreads the backoff of children; without one, and without one above, backoff has no jitter.
      events: where to tell what happens. Below another supervisor, its stream takes this one's place.
    """

    _specs: dict[str, ChildSpec] = attrs.field(converter=_by_name, alias="children")
    strategy: Strategy = attrs.field(default="one_for_one", kw_only=True)
    intensity: float = attrs.field(default=3, kw_only=True)
    period: float = attrs.field(default=30.0, kw_only=True)
    _places: dict[str, Place] = attrs.field(factory=dict, init=False)
    _restarts: deque[tuple[float, Place]] = attrs.field(factory=deque, init=False)  # in the window, oldest first

    def child(self, name: str) -> Any:
        """Return what the running incarnation of the child `name` passed to `started()`: an actor's `ActorRef`.

        Raises `KeyError` if there is no such child, `ActorStopped` if it is not running now.
        """
        return self._running(name).value

    def kill_child(self, name: str, reason: str = "killed") -> None:
        """Cancel the running incarnation of the child `name`, which counts as a crash. Raises as `child` does."""
        self._running(name).cancel(reason)

    def _running(self, name: str) -> Child:
        spec, place = self._specs[name], self._places.get(name)
        if place is None or place.child is None or place.child.state not in ("running", "stopping"):
            raise ActorStopped(f"{self.path}/{spec.name}")
        return place.child

    def node(self, path: str) -> Node:
        self._forget_restarts()
        state, places, restarted = self._state, self._places, [place for _, place in self._restarts]
        if state == "running" and any(place.state in ("starting", "restarting") for place in places.values()):
            state = "restarting"
        children = tuple(place.node(f"{path}/{name}", restarted.count(place)) for name, place in places.items())
        return Node(path, "supervisor", self.strategy, state, self._runs, len(restarted), children=children)

    async def _live(self, task_status: trio.TaskStatus[Any]) -> ActorError | None:
        send, ended = trio.open_memory_channel[tuple[Place, Child]](math.inf)  # bounded by the number of children
        self._restarts.clear()
        for name, spec in self._specs.items():
            self._places[name] = Place(spec, f"{self.path}/{name}", self, self._nursery, send.send_nowait)
        for place in self._places.values():
            if not await place.start():
                return place.start_error()
        await trio.lowlevel.checkpoint_if_cancelled()  # asked to stop meanwhile
        self._state = "running"
        task_status.started(self)
        return await self._attend(ended)

    async def _stop_children(self) -> None:
        for place in reversed(self._places.values()):
            await place.stop()

    async def _attend(self, ended: trio.MemoryReceiveChannel[tuple[Place, Child]]) -> RestartLimitReached:
        """Restart what ends, one thing at a time, until that is too often."""
        while True:
            due = min((place.due for place in self._places.values()), default=math.inf)
            with trio.move_on_at(due) as waiting:
                place, child = await ended.receive()
            if waiting.cancelled_caught:
                await self._start_group(next(place for place in self._places.values() if place.due == due))
            elif place.child is not child or not place.spec.restarts_after(child.exit):
                continue  # a sibling's restart has dealt with it, or nobody needs to
            elif self._admit(place):
                await self._restart(place)
            else:
                return self._escalate(child.exit)

    def _admit(self, place: Place) -> bool:
        self._forget_restarts()
        self._restarts.append((trio.current_time(), place))
        return len(self._restarts) <= self.intensity

    def _forget_restarts(self) -> None:
        while self._restarts and self._restarts[0][0] < trio.current_time() - self.period:
            self._restarts.popleft()

    async def _restart(self, place: Place) -> None:
        group = self._group(place)
        for member in reversed(group):
            await member.stop()
        for member in group:
            if member is place or member.spec.restart != "temporary":
                member.state = "restarting"
        delay = place.next_delay()
        if delay > 0:
            place.due = trio.current_time() + delay
        else:
            await self._start_group(place)

    async def _start_group(self, place: Place) -> None:
        for member in self._group(place):
            if member.state == "restarting" and not await member.start():
                member.start_failed()
                return

    def _group(self, place: Place) -> list[Place]:
        places = list(self._places.values())
        if self.strategy == "one_for_one":
            return [place]
        return places if self.strategy == "one_for_all" else places[places.index(place) :]

    def _escalate(self, exit_: Exit | None) -> RestartLimitReached:
        self.events.emit("escalated", self.path, self._runs, exit_)
        error = RestartLimitReached(self.path, self.intensity, self.period)
        error.__cause__ = exit_.error if isinstance(exit_, Crashed) else None
        return error


@asynccontextmanager
async def open_supervisor(
    children: Iterable[ChildSpec], name: str = "root", **options: Any
) -> AsyncIterator[Supervisor]:
    """Run a `Supervisor` (its `options`: see there) beside the block, which begins when all children are ready.

    Leaving the block stops them. An error in it does too, and arrives bare, not in a group; so does what `run` raises:
    `StartError` instead of entering the block, `RestartLimitReached` after cancelling it.
    """
    supervisor, settled = Supervisor(name, children, **options), trio.Event()
    error: Exception | None = None

    def on_ended(child: Child) -> None:
        if isinstance(child.exit, Crashed):
            nursery.cancel_scope.cancel(reason=f"{name} gave up")

    child = Child(name, name, on_ended, None, settled)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.run, supervisor.run, name=name)
            await settled.wait()
            try:
                yield supervisor
            except Exception as raised:  # noqa: BLE001  # raised again below, where it leaves no group
                error = raised
            finally:
                supervisor.request_stop()
    finally:
        if isinstance(child.exit, Crashed):
            if error is not None:
                child.exit.error.add_note(f"the block that was cancelled raised {error!r}")
            error = child.exit.error
        if error is not None:
            raise error
