"""What goes wrong between actors: whose doing it was decides which class it is."""


class ActorError(Exception):
    """Base of every error this package raises of its own accord."""


class ActorStopped(ActorError):
    """The incarnation at `path` has ended, or is ending: it will not answer. `__cause__` is its crash, if any."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} has stopped")
        self.path = path


class MailboxFull(ActorError):
    """`send_nowait` met a mailbox holding its full `size` messages."""

    def __init__(self, path: str, size: int) -> None:
        super().__init__(f"the mailbox of {path} holds its {size} messages already")
        self.path, self.size = path, size


class StartError(ActorError):
    """The child at `path` never became ready; `cause` (also `__cause__`) says why."""

    def __init__(self, path: str, cause: BaseException) -> None:
        super().__init__(f"{path} did not start: {cause!r}")
        self.path, self.cause = path, cause
        self.__cause__ = cause


class RestartLimitReached(ActorError):
    """The children of `path` needed more than `intensity` restarts in `period` seconds. `__cause__` is the last crash."""

    def __init__(self, path: str, intensity: float, period: float) -> None:
        super().__init__(f"{path}: more than {intensity:g} restarts in {period:g} s")
        self.path, self.intensity, self.period = path, intensity, period


class MaxChildrenReached(ActorError):
    """The dynamic supervisor at `path` runs `limit` children already."""

    def __init__(self, path: str, limit: int) -> None:
        super().__init__(f"{path} runs its {limit} children already")
        self.path, self.limit = path, limit


class SupervisorStopped(ActorError):
    """The dynamic supervisor at `path`, asked for a child, is not running or is about to stop."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not running")
        self.path = path


class Killed(ActorError):
    """A child was cancelled by somebody other than its supervisor; `reason` is what they gave."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
