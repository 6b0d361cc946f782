"""OTP on Trio: actors, supervisors, and a tree that can be asked what it is doing. `docs/guarantees.md` says what holds."""

from ._actor import Actor, run_actor
from ._child import Child
from ._dynamic import DynamicStatistics, DynamicSupervisor
from ._errors import (
    ActorError,
    ActorStopped,
    Killed,
    MailboxFull,
    MaxChildrenReached,
    RestartLimitReached,
    StartError,
    SupervisorStopped,
)
from ._events import Event, EventStream
from ._exits import Crashed, Exit, Finished, Stopped
from ._ref import ActorRef, ActorStatistics
from ._spec import Backoff, ChildSpec
from ._supervisor import Supervisor, open_supervisor
from ._tree import Node

__all__ = [
    "Actor",
    "ActorError",
    "ActorRef",
    "ActorStatistics",
    "ActorStopped",
    "Backoff",
    "Child",
    "ChildSpec",
    "Crashed",
    "DynamicStatistics",
    "DynamicSupervisor",
    "Event",
    "EventStream",
    "Exit",
    "Finished",
    "Killed",
    "MailboxFull",
    "MaxChildrenReached",
    "Node",
    "RestartLimitReached",
    "StartError",
    "Stopped",
    "Supervisor",
    "SupervisorStopped",
    "open_supervisor",
    "run_actor",
]
