"""An object that owns something and is told what to do with it one message at a time."""

from typing import ClassVar, Generic, TypeVar

import trio

from ._exits import Exit, Stopped
from ._ref import ActorRef, Mailbox

M = TypeVar("M")


class Actor(Generic[M]):
    """Owns a resource whose operations await and must not interleave. Subclass it with the type of its messages.

    One instance is one incarnation: its state dies with it, so a supervisor makes a new one for each start.
    """

    mailbox_size: ClassVar[int] = 64
    """Messages waiting at most; then `send` and `call` wait and `send_nowait` raises `MailboxFull`."""

    refusals: ClassVar[tuple[type[Exception], ...]] = ()
    """What `handle` may raise as an answer: it travels to the caller (a mere `send` drops it). Any other is a crash."""

    ref: ActorRef[M]
    """Its own reference, from before `started()` on."""

    async def started(self) -> None:
        """Acquire what it owns. Raising here means it never became ready; `stopped()` is then not called."""

    async def handle(self, message: M) -> object:
        """Do what `message` asks; the return value is the reply to a `call`."""
        raise NotImplementedError

    async def stopped(self) -> None:
        """Release what it owns, also after a crash. Shielded from cancellation, within the shutdown budget."""


async def run_actor(
    actor: Actor[M], *, shutdown: float = 5.0, task_status: trio.TaskStatus[ActorRef[M]] = trio.TASK_STATUS_IGNORED
) -> Exit:
    """Run `actor` in this task until it is asked to stop; the task's name is its path.

    Ready, with its reference, once `started()` has returned. `stopped()` has `shutdown` seconds, counted from the
    request to stop if there was one. Cancellation interrupts the message at hand, then runs `stopped()`.

    Raises:
      trio.TooSlowError: `stopped()` took longer than its budget.
      Exception: what the actor raised. Callers see it as the cause of their `ActorStopped`.
    """
    mailbox = Mailbox(trio.lowlevel.current_task().name, actor.mailbox_size)
    actor.ref = mailbox
    try:
        await actor.started()
        task_status.started(actor.ref)
        await _serve_and_release(actor, mailbox, shutdown)
    except BaseException as error:
        mailbox.end(mailbox.abandon(error))
        raise
    mailbox.end(Stopped())
    return Stopped()


async def _serve_and_release(actor: Actor[M], mailbox: Mailbox, shutdown: float) -> None:
    try:
        await _serve(actor, mailbox)
    except BaseException as error:
        mailbox.abandon(error)
        raise
    finally:
        asked_at = mailbox.stop_requested_at
        with trio.fail_at((trio.current_time() if asked_at is None else asked_at) + shutdown, shield=True):
            await actor.stopped()


async def _serve(actor: Actor[M], mailbox: Mailbox) -> None:
    while True:
        try:
            message = await mailbox.take()
        except trio.ClosedResourceError:
            return  # asked to stop
        try:
            reply = await actor.handle(message)
        except actor.refusals as refusal:
            mailbox.done(refusal=refusal)
        else:
            mailbox.done(reply)
