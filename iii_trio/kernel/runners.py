"""Tasks that run handlers one after another: for most handlers a task of their own costs more than they do."""

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Final

import attrs
import trio

from actors import Child, DynamicSupervisor, Exit

from .functions import Call
from .invocations import Invocation

_RESTING: Final = 64
"""Tasks that wait for the next handler; those beyond end when theirs has."""

_UNUSED: Final = 1.0
"""Seconds after which a task that was not needed again ends, at the latest twice as many."""

Run = Callable[[Invocation, Call], Awaitable[None]]


@attrs.define(eq=False)
class Runners:
    """Runs each handler in a task that nobody else uses meanwhile, a child of `invocations` like any other.

    A handler may be killed (`row.child.cancel`) as in a task of its own, does not see what another has set in context
    variables, and outlives who asked for it.

    Args:
      invocations: who owns the tasks.
      run: runs one handler and ends its row; never raises an `Exception`.
      ended: called for a row whose handler was killed before it had ended.
    """

    _invocations: DynamicSupervisor
    _run: Run
    _ended: Callable[[Invocation, Exit], object]
    _resting: list["_Runner"] = attrs.field(factory=list)
    _context: Context = attrs.field(factory=copy_context)
    _made: int = 0
    _rested: trio.Event | None = None

    @property
    def resting(self) -> int:
        """Tasks that wait for the next handler."""
        return len(self._resting)

    def start_soon(self, row: Invocation, call: Call) -> Child:
        """Run the handler of a row from the next turn of the scheduler on. Raises SupervisorStopped."""
        if self._resting:
            runner = self._resting.pop()
            runner.resume(row, call, self._context.copy())
            return runner.child
        self._made += 1
        runner = _Runner((row, call), self._resting)
        runner.child = self._invocations.start_soon(
            self._live, runner, name=f"runner-{self._made}", on_exit=lambda exit_: self._gone(runner, exit_)
        )
        return runner.child

    async def _live(self, runner: "_Runner") -> None:
        while runner.work is not None:
            await self._run(*runner.work)
            runner.work = None
            if len(self._resting) < _RESTING:
                self._resting.append(runner)
                if self._rested is not None:
                    self._rested.set()
                    self._rested = None
                await runner.rest()

    async def sweep(self) -> None:
        """End the tasks that are not needed any more; run until cancelled."""
        while True:
            if not self._resting:
                self._rested = trio.Event()
                await self._rested.wait()
            unused = tuple(self._resting)
            for runner in unused:
                runner.is_unused = True
            await trio.sleep(_UNUSED)
            for runner in unused:
                if runner.is_unused and runner in self._resting:
                    self._resting.remove(runner)
                    runner.dismiss()

    def _gone(self, runner: "_Runner", exit_: Exit) -> None:
        if runner.work is not None:
            self._ended(runner.work[0], exit_)


@attrs.define(eq=False)
class _Runner:
    """One task: at work, or resting."""

    work: tuple[Invocation, Call] | None
    _resting: list["_Runner"]
    child: Child = attrs.field(init=False)
    is_unused: bool = False
    _task: trio.lowlevel.Task | None = None

    async def rest(self) -> None:
        """Wait for the next handler. Cancelled, it is at once not among those any more to whom one may be given."""
        if self._task is None:
            self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._resting.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED

    def resume(self, row: Invocation, call: Call, context: Context) -> None:
        """Give a resting task its next handler."""
        assert self._task is not None
        self.work, self.is_unused = (row, call), False
        self._task.context = context
        trio.lowlevel.reschedule(self._task)

    def dismiss(self) -> None:
        """Let a resting task end."""
        assert self._task is not None
        trio.lowlevel.reschedule(self._task)
