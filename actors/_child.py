"""One incarnation of a child: its task, its scope, its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import attrs
import trio

from ._errors import Killed
from ._events import call_guarded, logger
from ._exits import Crashed, Exit, Finished, Stopped, split_crash

State: TypeAlias = Literal["starting", "running", "restarting", "stopping", "stopped"]
Task: TypeAlias = Callable[..., Awaitable[object]]
OnExit: TypeAlias = Callable[[Exit], object]
FINISHED, STOPPED = Finished(), Stopped()


@attrs.define(eq=False)
class Child:
    """A child, running or ended. `value` is what it passed to `started()`; `exit` is `None` until the end.

    `scope.deadline` (in `trio.current_time()`) may be set; a child cut off by it has crashed with `TooSlowError`.
    """

    name: str
    path: str
    _on_ended: Callable[[Child], object]  # the supervisor's; then the user's
    on_exit: OnExit | None = None
    settled: trio.Event | None = None  # given when somebody waits until it is ready, or has ended before
    _on_ready: Callable[[], object] | None = None
    request_stop: Callable[[], object] | None = None
    ready: bool = False
    value: Any = None
    exit: Exit | None = None
    is_ending: bool = False  # killed, or its stop has begun: the next checkpoint may be its last
    _asked_at: float | None = None
    _killed: str | None = None
    _ended: trio.Event | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    @property
    def state(self) -> State:
        if self.exit is not None:
            return "stopped"
        if self._asked_at is not None:
            return "stopping"
        return "running" if self.ready or self.settled is None else "starting"

    def cancel(self, reason: str) -> None:
        """Kill it: unless its supervisor is stopping it anyway, it ends as `Crashed(Killed(reason))`."""
        self._killed, self.is_ending = reason, True
        self.scope.cancel(reason=reason)

    def started(self, value: Any = None) -> None:
        """Report readiness: this is the child's `task_status`."""
        if self.ready:
            raise RuntimeError(f"{self.path} called task_status.started() twice")
        self.ready, self.value = True, value
        self.request_stop = getattr(value, "request_stop", self.request_stop)
        if self._on_ready is not None:
            self._on_ready()
        assert self.settled is not None
        self.settled.set()

    async def wait_stopped(self) -> Exit:
        """Wait for its end. Cancellation only ends the wait."""
        if self._ended is None:
            self._ended = trio.Event()
            if self.exit is not None:
                self._ended.set()
        await self._ended.wait()
        assert self.exit is not None
        return self.exit

    async def stop(self, budget: float) -> None:
        """Ask it, cancel it `budget` seconds after it was first asked, then wait: Trio cannot kill."""
        with trio.move_on_at(self.ask_to_stop() + budget):
            await self.wait_stopped()
        if self.exit is None:
            self.enforce_stop(budget)
            await self.wait_stopped()

    def ask_to_stop(self) -> float:
        """Begin its stop: politely if it knows how, else by cancelling. Returns when that was first done."""
        if self._asked_at is None:
            self._asked_at, self.is_ending = trio.current_time(), True
            if self.request_stop is None:
                self.scope.cancel(reason=f"{self.path} is being stopped")
            else:
                call_guarded(self.request_stop)
        return self._asked_at

    def enforce_stop(self, budget: float) -> None:
        logger.warning("%s did not stop within %g s: cancelled, and waited for", self.path, budget)
        self.scope.cancel(reason=f"{self.path} used up its {budget:g} s to stop")

    async def run(self, fn: Task, *args: Any) -> None:
        """Run `fn` as this child's task. The boundary: nothing that is an `Exception` leaves it."""
        exit_: Exit = STOPPED  # stands if what passes through ends the whole program
        result: object = None
        try:
            with self.scope:
                result = await (fn(*args) if self.settled is None else fn(*args, task_status=self))
            exit_ = self._exit_after(result)
        except BaseExceptionGroup as group:
            crash, rest = split_crash(group)
            exit_ = crash or STOPPED
            if rest is not None:
                raise rest from None
        except Exception as error:  # noqa: BLE001  # the child wrapper: a crash is an exit, and never reaches the nursery
            exit_ = Crashed(error)
        finally:
            self._end(exit_)

    def _exit_after(self, result: object) -> Exit:
        if self._asked_at is not None:
            return STOPPED
        if self.scope.cancelled_caught:
            return Crashed(trio.TooSlowError() if self._killed is None else Killed(self._killed))
        if self.settled is not None and not self.ready:
            return Crashed(RuntimeError(f"{self.path} ended without calling task_status.started()"))
        return result if isinstance(result, Finished | Stopped) else FINISHED

    def _end(self, exit_: Exit) -> None:
        self.exit = exit_
        self._on_ended(self)
        if self.on_exit is not None:
            call_guarded(self.on_exit, exit_)
        for event in (self.settled, self._ended):
            if event is not None:
                event.set()
