"""What the rest of the program holds of an actor, and the bounded mailbox behind it."""

from typing import Any, Generic, TypeVar

import attrs
import trio

from ._errors import ActorStopped, Killed, MailboxFull
from ._exits import Crashed, Exit, Stopped, split_crash

M_contra = TypeVar("M_contra", contravariant=True)


@attrs.frozen
class ActorStatistics:
    """A snapshot, in numbers of messages and of tasks waiting to send. What was refused was handled, too."""

    handled: int
    queued: int
    peak_queued: int
    waiting_senders: int


@attrs.define(eq=False)
class Call:
    """A message somebody waits on."""

    message: Any
    reply: object = None
    error: Exception | None = None
    answered: trio.Event = attrs.field(factory=trio.Event)

    def answer(self, reply: object = None, error: Exception | None = None) -> None:
        self.reply, self.error = reply, error
        self.answered.set()


@attrs.define(eq=False, repr=False)
class ActorRef(Generic[M_contra]):
    """Names one incarnation of an actor. After a restart it stays stopped: ask the supervisor for the new one.

    `path` says where in the tree it lives, as `root/journal`; so is its task named. `exit` is `None` until its end.
    """

    path: str
    mailbox_size: int
    exit: Exit | None = attrs.field(default=None, init=False)
    _cause: Exception | None = attrs.field(default=None, init=False)
    _handled: int = attrs.field(default=0, init=False)
    _peak: int = attrs.field(default=0, init=False)
    _current: Call | None = attrs.field(default=None, init=False)
    _calls: dict[Call, None] = attrs.field(factory=dict, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _send: trio.MemorySendChannel[Any] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Any] = attrs.field(init=False)
    stop_requested_at: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Any](self.mailbox_size)

    async def send(self, message: M_contra) -> None:
        """Put `message` into the mailbox, waiting while that is full; returns before it is handled.

        Messages of one task are handled in the order sent. Cancelled while waiting, it was not sent.

        Raises:
          ActorStopped: the actor has ended, or was asked to.
        """
        try:
            await self._send.send(message)
        except trio.BrokenResourceError:
            raise ActorStopped(self.path) from self._cause

    def send_nowait(self, message: M_contra) -> None:
        """Like `send`, but raises `MailboxFull` instead of waiting."""
        try:
            self._send.send_nowait(message)
        except trio.BrokenResourceError:
            raise ActorStopped(self.path) from self._cause
        except trio.WouldBlock:
            raise MailboxFull(self.path, self.mailbox_size) from None

    async def call(self, message: M_contra) -> Any:
        """Send `message` and return what `Actor.handle` returned for it.

        The timeout is the caller's cancel scope. Cancellation ends the wait, never the actor: a message that is in
        the mailbox is handled all the same, and its reply is dropped.

        Raises:
          ActorStopped: the actor ended, or was asked to, before it answered; `__cause__` is its crash.
          Exception: one of `Actor.refusals`, as `handle` raised it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        call: Any = Call(message)
        self._calls[call] = None
        try:
            try:
                self.send_nowait(call)
            except MailboxFull:
                await self.send(call)
            await call.answered.wait()
        finally:
            self._calls.pop(call, None)
        if call.error is not None:
            raise call.error
        return call.reply

    def request_stop(self) -> None:
        """Ask it to end after the message at hand. What is queued is dropped, and its callers get `ActorStopped`."""
        if self.stop_requested_at is None:
            self.stop_requested_at = trio.current_time()
        self._close()

    def _close(self, cause: Exception | None = None) -> None:
        """Fail everybody who waits, or comes later. Synchronous: it must work in a task that is being cancelled."""
        self._cause = self._cause or cause
        self._receive.close()
        for call in self._calls:
            error = ActorStopped(self.path)
            error.__cause__ = self._cause
            call.answer(error=error)
        self._calls.clear()

    async def wait_stopped(self) -> Exit:
        """Wait until the actor's task is done, `stopped()` included. Cancellation only ends the wait."""
        await self._ended.wait()
        assert self.exit is not None
        return self.exit

    def statistics(self) -> ActorStatistics:
        """Count what went through the mailbox and what is in it now."""
        now = self._receive.statistics()
        queued, waiting = now.current_buffer_used, now.tasks_waiting_send
        return ActorStatistics(self._handled, queued, max(self._peak, queued), waiting)

    def __repr__(self) -> str:
        return f"<ActorRef {self.path}: {self.exit or 'running'}>"


class Mailbox(ActorRef[Any]):
    """The actor's own side of its reference."""

    async def take(self) -> Any:
        """Return the next message; raises `trio.ClosedResourceError` once closed."""
        self._peak = max(self._peak, self._receive.statistics().current_buffer_used)  # it only grows between two takes
        message = await self._receive.receive()
        if not isinstance(message, Call):
            return message
        self._calls.pop(message, None)
        self._current = message
        return message.message

    def done(self, reply: object = None, refusal: Exception | None = None) -> None:
        """Answer the message taken last, if it was a call."""
        self._handled += 1
        if self._current is not None:
            self._current.answer(reply, refusal)
            self._current = None

    def abandon(self, error: BaseException) -> Exit:
        """Close because of `error`, failing the call at hand too; say what kind of end that is."""
        crash, rest = split_crash(error)
        if self._current is not None:
            self._calls[self._current] = None
        self._close(None if crash is None else crash.error)
        if crash is None and self.stop_requested_at is None:
            return Crashed(Killed(getattr(rest, "reason", None) or "cancelled"))
        return crash or Stopped()

    def end(self, exit_: Exit) -> None:
        self.exit = exit_
        self._ended.set()
