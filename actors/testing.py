"""The checkpoint sweep: does the code hold up wherever it is cut off?

A task can be cancelled at its checkpoints and nowhere else. So run a scenario once for each of them, cut it off there,
and check what must hold in any case; the sweep ends with the run in which there was no checkpoint left to strike:

    async def scenario(aim: Aim) -> None:
        async with open_supervisor([ChildSpec.actor("counter", Counter)]) as supervisor:
            with aim.block():
                await supervisor.child("counter").call(Add(1))
            assert await supervisor.child("counter").call(Get()) in (0, 1)

    def test_call() -> None:
        assert sweep(scenario) > 0

Virtual time (`MockClock`, autojump), so a scenario may sleep, and one that hangs is found out at once.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import attrs
import trio
import trio.testing

from ._errors import ActorStopped

__all__ = ["Aim", "Injected", "sweep"]


class Injected(Exception):
    """What a swept block raises instead of being cancelled, when the sweep is for crashes."""


@attrs.define(eq=False)
class Aim(trio.abc.Instrument):
    """Says where one run of the scenario is struck, and whether it was (`struck`). Counts from checkpoint 1.

    Without a block and a task to aim at there is nothing to strike, and the sweep ends with its first run.
    """

    checkpoint: int
    crash: bool = False
    passed: int = attrs.field(default=0, init=False)
    struck: bool = attrs.field(default=False, init=False)
    _blocks: dict[trio.lowlevel.Task, trio.CancelScope] = attrs.field(factory=dict, init=False)
    _tasks: dict[str, Callable[[], object]] = attrs.field(factory=dict, init=False)

    @contextmanager
    def block(self) -> Iterator[None]:
        """Aim at what the current task does in this block (again, if the block is entered again).

        Struck, the block is left by cancellation; then it ends quietly or, in a sweep for crashes, raises `Injected`.
        """
        task = trio.lowlevel.current_task()
        with trio.CancelScope() as scope:
            self._blocks[task] = scope
            try:
                yield
            finally:
                del self._blocks[task]
        if self.crash and scope.cancelled_caught:
            raise Injected(f"at checkpoint {self.checkpoint}")

    def task(self, name: str, cancel: Callable[[], object]) -> None:
        """Aim at every task called `name`, which for a supervised child is its path; `cancel` strikes it.

        `ActorStopped` from `cancel` means that there was nothing left to strike.
        """
        self._tasks[name] = cancel

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Strike, if this is the checkpoint. Called by Trio when `task` has come to one."""
        cancel = self._blocks[task].cancel if task in self._blocks else self._tasks.get(task.name)
        if cancel is None or self.struck:
            return
        self.passed += 1
        if self.passed == self.checkpoint:
            self.struck = True
            with suppress(ActorStopped):
                cancel()


def sweep(
    scenario: Callable[[Aim], Awaitable[object]], *, crash: bool = False, limit: int = 1000, patience: float = 3600.0
) -> int:
    """Run `scenario` again and again, struck at its 1st, 2nd, ... checkpoint, until a run goes through untouched.

    Args:
      scenario: checks its own invariants, whether or not `aim.struck`. What it raises is noted with the checkpoint.
      crash: have the block raise `Injected` where it would be cancelled.
      limit: checkpoints a scenario may have.
      patience: virtual seconds a run may take; more is a hang.

    Returns how many checkpoints were struck.

    Raises:
      AssertionError: no end after `limit` checkpoints.
      trio.TooSlowError: a run hangs.
    """

    async def run(aim: Aim) -> None:
        with trio.fail_after(patience):
            await scenario(aim)

    for checkpoint in range(1, limit + 1):
        aim = Aim(checkpoint, crash)
        try:
            trio.run(run, aim, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[aim])
        except BaseException as error:
            error.add_note(f"(struck at checkpoint {checkpoint})" if aim.struck else "(not struck)")
            raise
        if not aim.struck:
            return checkpoint - 1
    raise AssertionError(f"still not through after {limit} checkpoints")
