"""What a supervisor is told about a child."""

import math
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Literal, Protocol, Self, TypeAlias, TypedDict, Unpack

import attrs
import trio

from ._actor import Actor, run_actor
from ._exits import Crashed, Exit
from ._tree import Branch

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]


class Start(Protocol):
    """Runs a child until its end; it is ready when it calls `task_status.started(value)`."""

    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[object]: ...


@attrs.frozen
class ActorStart:
    factory: Callable[[], Actor[Any]]
    shutdown: float

    async def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Exit:
        return await run_actor(self.factory(), shutdown=self.shutdown, task_status=task_status)


@attrs.frozen
class BranchStart:
    factory: Callable[[], Branch]  # the supervisor above gives what it returns a seat, then runs it


@attrs.frozen
class Backoff:
    """The pause before a restart, in seconds: `first`, then `factor` times longer each time, at most `maximum`.

    Each pause is spread by up to `jitter` (a fraction) to either side, so that children which fell together do not
    rise together. A child that was ready for `maximum` seconds begins the series again.
    """

    first: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.3

    def delay(self, attempt: int, random: Random | None) -> float:
        """Return the pause before restart number `attempt` (from 0). Without `random` there is no jitter."""
        pause = min(self.maximum, self.first * self.factor ** min(attempt, 999))
        return pause if random is None else min(self.maximum, pause * random.uniform(1 - self.jitter, 1 + self.jitter))


class ChildOptions(TypedDict, total=False):
    """The fields of `ChildSpec` which its constructors take by keyword."""

    restart: Restart
    shutdown: float
    backoff: Backoff | None


@attrs.frozen
class ChildSpec:
    """How one child is started, restarted and stopped.

    Args:
      name: its last path segment, unique below its supervisor.
      start: runs it; called anew for each incarnation, in the child's own task.
      restart: `permanent` is always started again, `transient` after a crash only, `temporary` never. A sibling's
        restart takes along a transient child that has finished, but brings back no temporary one.
      shutdown: seconds from the request to stop to cancellation; one without `request_stop` is cancelled at once.
      backoff: pauses before its restarts; without one they are immediate.
    """

    name: str
    start: Start | BranchStart
    restart: Restart = "permanent"
    shutdown: float = 5.0
    backoff: Backoff | None = None

    @classmethod
    def actor(cls, name: str, factory: Callable[[], Actor[Any]], **options: Unpack[ChildOptions]) -> Self:
        """Supervise an actor; `factory` makes one per incarnation. Its started value is the `ActorRef`."""
        return cls(name, ActorStart(factory, options.get("shutdown", 5.0)), **options)

    @classmethod
    def supervisor(cls, name: str, factory: Callable[[], Branch], **options: Unpack[ChildOptions]) -> Self:
        """Supervise a supervisor of either kind, which is also the started value; `factory` may return it again.

        It takes path, event stream and random source from above. Its stop takes as long as its children's.
        """
        options.setdefault("shutdown", math.inf)
        return cls(name, BranchStart(factory), **options)

    def restarts_after(self, exit_: Exit | None) -> bool:
        """Tell whether a child that ended so is started again."""
        return self.restart == "permanent" or (self.restart == "transient" and isinstance(exit_, Crashed))
