"""The ledger: one row per invocation in flight, whoever runs it (wire-protocol 5.4, 5.5)."""

from collections.abc import Callable, Iterator

import attrs
import trio
from msgspec import Raw

from actors import Child
from iii_trio.protocol import ErrorBody, Payload
from iii_trio.protocol.errors import WorkerDisconnected, from_error_body
from iii_trio.protocol.messages import ABSENT

from ._emptied import Emptied
from ._wire import result_pieces
from .events import KernelEvents
from .functions import Function
from .workers import Owner, Worker

Answer = Callable[[Raw, ErrorBody | None], None]
"""Takes an outcome: the result, `ABSENT` if there is none, or the error."""

STOPPED = ErrorBody(WorkerDisconnected.code, "Invocation stopped")


@attrs.define(eq=False)
class Invocation:
    """A call in flight. `reply_id` is the caller's id for it, None when no message answers it.

    `answer` takes the outcome when somebody inside the engine waits; `child` is the task of a handler that runs here.
    """

    id: str
    function: Function
    caller: Worker | None = None
    reply_id: str | None = None
    traceparent: str | None = None
    baggage: str | None = None
    answer: Answer | None = None
    child: Child | None = None

    @property
    def executor(self) -> Owner:
        """Who runs it."""
        return self.function.owner


@attrs.define(eq=False)
class Waiter:
    """Somebody inside the engine who waits for one outcome."""

    event: trio.Event = attrs.field(factory=trio.Event)
    result: Raw = ABSENT
    error: ErrorBody | None = None

    def answer(self, result: Raw, error: ErrorBody | None) -> None:
        self.result, self.error = result, error
        self.event.set()

    async def wait(self) -> Payload:
        await self.event.wait()
        if self.error is not None:
            raise from_error_body(self.error)
        return Payload(self.result if self.result is not ABSENT else Raw(b"null"))


@attrs.frozen
class Limits:
    """How many invocations may be in flight; more are answered `overloaded` at once."""

    per_caller: int = 16_384
    in_all: int = 65_536


@attrs.frozen
class LedgerStatistics:
    """Counts of the ledger: every invocation ever opened is in flight, answered, failed or abandoned."""

    in_flight: int
    opened: int
    answered: int
    failed: int
    abandoned: int


@attrs.define(eq=False)
class Ledger:
    """Invocations in flight by id, each also with its caller and its executor; closed exactly once."""

    _events: KernelEvents
    rows: dict[str, Invocation] = attrs.field(factory=dict)
    _opened: int = 0
    _failed: int = 0
    _abandoned: int = 0
    _emptied: Emptied = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._emptied = Emptied(self.rows)

    def __iter__(self) -> Iterator[Invocation]:
        return iter(tuple(self.rows.values()))

    def open(self, row: Invocation) -> None:
        """Enter an invocation under an id that is not in flight."""
        self.rows[row.id] = row
        row.function.owner.executing[row.id] = row
        if row.caller is not None:
            row.caller.calling[row.id] = row
        self._opened += 1
        if self._events.listeners:
            self._events.emit("invoked", row.id)

    def finish(self, row: Invocation, result: Raw = ABSENT, error: ErrorBody | None = None) -> bool:
        """End an invocation and answer whoever waits. False, and no effect, if it has ended already."""
        if not self._close(row):
            return False
        if error is not None:
            self._failed += 1
        if self._events.listeners:
            self._events.emit("failed" if error else "answered", row.id)
        caller = row.caller
        if row.answer is not None:
            row.answer(result, error)
        elif row.reply_id is not None and caller is not None and caller.outlet is not None and not caller.closing:
            pieces, size = result_pieces(
                row.reply_id,
                row.function.result_member,
                result,
                error,
                row.traceparent,
                row.baggage,
                caller.receive_limit,
            )
            caller.outlet.send(pieces, size)
        return True

    def abandon(self, row: Invocation) -> None:
        """Forget an invocation whose caller has gone; its executor is not told, a late answer finds nothing."""
        if self._close(row):
            self._abandoned += 1
            if self._events.listeners:
                self._events.emit("abandoned", row.id)

    def drop_worker(self, worker: Worker) -> None:
        """Disconnect cleanup (3.6): what it runs ends with `invocation_stopped`, what it waits for is forgotten.

        A handler inside the engine goes on when its caller leaves; its reply is dropped.
        """
        self.stop_executions(worker)
        for row in tuple(worker.calling.values()):
            if row.child is None:
                self.abandon(row)
            else:
                row.caller, row.reply_id = None, None
        worker.calling.clear()

    def stop_executions(self, owner: Owner) -> None:
        """End everything `owner` runs, with `invocation_stopped` for the callers."""
        for row in tuple(owner.executing.values()):
            self.finish(row, error=STOPPED)
            if row.child is not None:
                row.child.cancel("its owner has gone")

    async def wait_empty(self) -> None:
        """Wait until nothing is in flight. Cancellation has no effect on the ledger."""
        await self._emptied.wait()

    def _close(self, row: Invocation) -> bool:
        if self.rows.pop(row.id, None) is None:
            return False
        row.function.owner.executing.pop(row.id, None)
        if row.caller is not None:
            row.caller.calling.pop(row.id, None)
        if self._emptied.event is not None:
            self._emptied.note()
        return True

    def statistics(self) -> LedgerStatistics:
        """Counts, for monitoring and chaos tests."""
        in_flight = len(self.rows)
        answered = self._opened - in_flight - self._failed - self._abandoned
        return LedgerStatistics(in_flight, self._opened, answered, self._failed, self._abandoned)
