"""Tasks that run handlers one after another: for most handlers a task of their own costs more than they do."""

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from types import coroutine
from typing import Any, Final, Protocol

import attrs
import trio

from actors import Child, DynamicSupervisor, Exit, SupervisorStopped

from .functions import Call
from .invocations import Invocation

_AT_ONCE: Final = 64
"""Handlers that a task runs before other tasks have their turn."""

_RESTING: Final = 64
"""Tasks that wait for the next handler; those beyond end when theirs has."""

_UNUSED: Final = 1.0
"""Seconds after which a task that was not needed again ends, at the latest twice as many."""

Run = Callable[[Invocation, Call], Coroutine[Any, Any, None]]


class Source(Protocol):
    """Where calls come from that a task without a handler can wait for."""

    async def wait(self) -> None:
        """Wait until there may be some. Raises trio.ClosedResourceError once there will be none any more."""
        ...

    def collect(self) -> None:
        """Have them submitted. Neither waits nor raises."""
        ...

    def done(self) -> None:
        """What was collected has run, or waits. Called after each `collect`, and perhaps again. Neither waits nor raises."""
        ...


@attrs.define(eq=False)
class Runners:
    """Runs handlers in tasks of `invocations`; one that has to wait keeps its task to itself, the others share one.

    Where calls come from a source, that same task waits for them: from there to the answer no other has to wake up.

    A handler may be killed (`row.child.cancel`) as in a task of its own, does not see what another has set in context
    variables, and outlives who asked for it.

    Args:
      invocations: who owns the tasks.
      run: runs one handler and ends its row; never raises an `Exception`.
      stopped: called for a row whose handler was killed, or will never run.
    """

    _invocations: DynamicSupervisor
    _run: Run
    _stopped: Callable[[Invocation], object]
    _queue: deque[tuple[Invocation, Call]] = attrs.field(factory=deque)
    """Handlers that will run in this or the next turn of the scheduler."""

    _is_coming: bool = False
    """Whether a task is on its way to the queue."""

    _vacant: list[Source] = attrs.field(factory=list)
    """Sources that nobody waits for."""

    _resting: list["_Runner"] = attrs.field(factory=list)
    _waiting: int = 0
    _context: Context = attrs.field(factory=copy_context)
    _made: int = 0
    _rested: trio.Event | None = None

    @property
    def resting(self) -> int:
        """Tasks that wait for the next handler, or for a source."""
        return len(self._resting) + self._waiting

    @contextmanager
    def fed_by(self, source: Source) -> Iterator[None]:
        """For the length of a block, wait for a source; it has to be closed at the end of the block. Raises SupervisorStopped."""
        self._vacant.append(source)
        if not self._is_coming:
            self._send_for_one()
        try:
            yield
        finally:
            if source in self._vacant:
                self._vacant.remove(source)

    def look(self) -> None:
        """Have somebody come for what is queued, and for sources that nobody waits for.

        To be called now and then: it may not have been possible before. What is queued ends if it still is not.
        """
        if (self._queue or self._vacant) and not self._is_coming:
            try:
                self._send_for_one()
            except SupervisorStopped:
                while self._queue:
                    self._stopped(self._queue.popleft()[0])

    def start_soon(self, row: Invocation, call: Call) -> None:
        """Run the handler of a row from the next turn of the scheduler on; then `row.child` is its task. Raises SupervisorStopped."""
        if not self._is_coming:
            self._send_for_one()
        self._queue.append((row, call))

    def _send_for_one(self) -> None:
        if self._resting:
            self._resting.pop().resume()
        else:
            self._made += 1
            runner = _Runner(self._resting)
            runner.is_held_up = partial(self._held_up, runner)
            runner.child = self._invocations.start_soon(
                self._live, runner, name=f"runner-{self._made}", on_exit=lambda exit_: self._gone(runner, exit_)
            )
        self._is_coming = True

    async def _live(self, runner: "_Runner") -> None:
        self._is_coming = False
        while not runner.is_dismissed:
            await self._serve(runner)
            if runner.source is None and self._vacant:
                runner.source = self._vacant.pop()
                self.look()  # there may be more of them
            if runner.source is not None:
                await self._attend(runner, runner.source)
            elif len(self._resting) < _RESTING:
                await self._rest(runner)
            else:
                return

    async def _serve(self, runner: "_Runner") -> None:
        """Run what is queued, until nothing is, or a handler has had its own task killed: others have no part in that."""
        queue, served, child = self._queue, 0, runner.child
        while queue and not child.is_ending:
            row, call = queue.popleft()
            row.child, runner.row = child, row
            await _alone(self._run(row, call), self._context.copy(), runner.is_held_up)
            runner.row = None
            served += 1
            if served % _AT_ONCE == 0:
                if runner.source is not None:
                    runner.source.done()
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _attend(self, runner: "_Runner", source: Source) -> None:
        """Wait for a source, and have its calls queued."""
        self._waiting += 1
        try:
            await source.wait()
        except trio.ClosedResourceError:
            runner.source = None
            return
        finally:
            self._waiting -= 1
        self._is_coming = True  # this task itself
        try:
            source.collect()
        finally:
            self._is_coming = False
        await self._serve(runner)
        if runner.source is not None:
            source.done()

    async def _rest(self, runner: "_Runner") -> None:
        self._resting.append(runner)
        if self._rested is not None:
            self._rested.set()
            self._rested = None
        runner.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(runner.leave)
        if not runner.is_dismissed:
            self._is_coming = False

    def _held_up(self, runner: "_Runner") -> None:
        """A handler waits, and its task with it: another one takes what is queued, and waits for the source."""
        if runner.source is not None:
            runner.source.done()
            self._vacant.append(runner.source)
            runner.source = None
        self.look()

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

    def _gone(self, runner: "_Runner", _: Exit) -> None:
        if runner.row is not None:
            self._stopped(runner.row)
        self._held_up(runner)


@attrs.define(eq=False)
class _Runner:
    """One task: at work, or resting."""

    _resting: list["_Runner"]
    child: Child = attrs.field(init=False)
    is_held_up: Callable[[], object] = attrs.field(init=False)
    """To be called when its handler has to wait."""

    row: Invocation | None = None
    source: Source | None = None
    is_unused: bool = False
    is_dismissed: bool = False
    task: trio.lowlevel.Task | None = None

    def leave(self, _: object) -> trio.lowlevel.Abort:
        """Cancelled while it rests: at once it is not among those any more to whom a handler may be given."""
        self._resting.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED

    def resume(self) -> None:
        """Have a resting task look at the queue."""
        assert self.task is not None
        self.is_unused = False
        trio.lowlevel.reschedule(self.task)

    def dismiss(self) -> None:
        """Let a resting task end."""
        assert self.task is not None
        self.is_dismissed = True
        trio.lowlevel.reschedule(self.task)


@coroutine
def _alone(
    handler: Coroutine[Any, Any, None], context: Context, on_wait: Callable[[], object]
) -> Generator[Any, Any, None]:
    """Await a handler in a context of its own; call `on_wait` when it is about to wait for the first time.

    What it says to Trio, and what Trio answers, passes through as it is.
    """
    try:
        said = context.run(handler.send, None)
    except StopIteration:
        return
    on_wait()
    while True:
        try:
            try:
                answer = yield said
            except BaseException as error:  # noqa: BLE001  # a cancellation, on its way into the handler
                said = context.run(handler.throw, error)
            else:
                said = context.run(handler.send, answer)
        except StopIteration:
            return
