"""Runs an engine until a signal: the life of a process that is an engine (config-cli-modules 3)."""

import logging
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from actors import ActorError, StartError

from .engine import Engine, run_engine
from .protocol.errors import IIIError

_log = logging.getLogger("iii_trio.serve")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOP_LIMIT = 8.0
"""Seconds from the first signal until everything that still runs is cancelled (config-cli-modules 3)."""

_HURRY_PERIOD = 0.05


class StartFailed(IIIError):
    """A part of the engine did not start. The text is that of the cause, which is chained."""


class StartInterrupted(IIIError):
    """A signal came before the engine was up; what had started was stopped again."""


async def serve_engine(
    engine: Engine,
    *,
    when_up: Callable[[Engine], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[Engine] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run an engine of `build_engine` until SIGINT, SIGTERM, `engine.request_stop()` or cancellation.

    Started, with the engine, once everything is up and `when_up` has returned.

    The first signal drains within the budgets, the second stops waiting for what still runs. In a thread that is not
    the main one, signals are not received.

    Raises:
      StartFailed: a part did not start. StartInterrupted: a signal came first.
      EngineCrashed: the engine gave up.
      ModuleFailed: the engine stopped, and the first of the modules whose `destroy` failed was this.
    """
    failure: ActorError | IIIError | None = None
    with _received_signals() as signals:
        async with trio.open_nursery() as nursery:
            stopping = _Stopping(engine, task_status, when_up)
            nursery.start_soon(stopping.watch, signals)
            nursery.start_soon(stopping.limit)
            try:
                with stopping.start:
                    await _run(engine, stopping)
            except (ActorError, IIIError) as error:
                failure = error  # raised below, where it leaves no group
            nursery.cancel_scope.cancel(reason="the engine has stopped")
    if isinstance(failure, StartError):
        raise StartFailed(str(_speaking(failure))) from failure
    if failure is not None:
        raise failure
    if stopping.start.cancelled_caught:
        raise StartInterrupted("stopped by a signal during the start")
    if engine.destroy_failures:
        raise engine.destroy_failures[0]


@attrs.define(eq=False)
class _Stopping:
    """What a signal means, before the engine is up, while it runs and while it stops."""

    engine: Engine
    task_status: trio.TaskStatus[Engine]
    when_up: Callable[[Engine], Awaitable[None]] | None
    start: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    hurry: trio.Event = attrs.field(factory=trio.Event)
    up: bool = False

    async def limit(self) -> None:
        """From the second signal on, or `STOP_LIMIT` after the first, cancel each part whose turn to stop has come."""
        await self.engine.wait_stop_requested()
        with trio.move_on_after(STOP_LIMIT):
            await self.hurry.wait()
        while self.up:
            self.engine.hasten_stop()
            await trio.sleep(_HURRY_PERIOD)

    async def watch(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            _log.info("received %s", signal.Signals(number).name)
            if self.up and self.engine.stop_requested:
                self.hurry.set()
            elif not self.up and (self.engine.stop_requested or not self._modules_are_up):
                self.start.cancel(reason="a signal during the start")
            self.engine.request_stop()

    @property
    def _modules_are_up(self) -> bool:
        """Then only ports are left to open, and whoever saw one open may stop the engine as one that runs."""
        return self.engine.composition.all_up.is_set()


async def _run(engine: Engine, stopping: _Stopping) -> None:
    async with run_engine(engine):
        stopping.up = True
        for name, (host, port) in engine.addresses.items():
            _log.info("[READY] %s on %s:%s", name, host, port)
        if stopping.when_up is not None:
            await stopping.when_up(engine)
        stopping.task_status.started(engine)
        await engine.wait_stop_requested()
        _log.warning("Shutting down engine and destroying workers")
    _log.warning("Engine shutdown complete")


@contextmanager
def _received_signals() -> Iterator[AsyncIterator[int]]:
    if threading.current_thread() is threading.main_thread():
        with trio.open_signal_receiver(*_SIGNALS) as signals:
            yield signals
    else:
        never, nothing = trio.open_memory_channel[int](0)
        with never, nothing:
            yield nothing


def _speaking(error: BaseException) -> BaseException:
    """The outermost error of the chain of causes that is in the engine's own words, else the innermost."""
    while error.__cause__ is not None:
        error = error.__cause__
        if isinstance(error, IIIError):
            break
    return error
