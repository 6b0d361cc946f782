"""The bus: routes every invocation to whoever runs its function (wire-protocol 5). A plain object, owned by no task."""

import logging
from collections.abc import Sequence
from functools import partial

import attrs
from msgspec import Raw

from actors import DynamicSupervisor, Exit, SupervisorStopped
from iii_trio.protocol import BadAction, Buffer, ErrorBody, Json, Payload, is_null
from iii_trio.protocol.errors import (
    ChannelSendFailed,
    InvalidAction,
    InvocationError,
    ModuleUnavailable,
    Overloaded,
    PayloadTooLarge,
    ShuttingDown,
    to_error_body,
)
from iii_trio.protocol.messages import ABSENT, Enqueue, InvocationResult, InvokeFunction, Void

from ._wire import (
    CALLER_KEY,
    ENVELOPE,
    INVOKE,
    OBJECT,
    QUOTE,
    canonical_id,
    extra_members,
    invoke_pieces,
    is_canonical,
    result_pieces,
    splice_caller,
    with_caller,
)
from .clock import Ids
from .enqueue import enqueue
from .functions import Call, Function, FunctionRegistry, Handler, function_member
from .invocations import STOPPED, Invocation, Ledger, Limits, Waiter
from .labels import shown
from .runners import Runners
from .workers import DEFAULT_NAMESPACE, Owner, Worker, check_namespace

_log = logging.getLogger("iii_trio.bus")


class Deferred:
    """What a handler returns to say that `Bus.resolve` will bring the outcome later."""


DEFERRED = Deferred()


@attrs.define(eq=False)
class Bus:
    """Finds the function, enters the ledger and hands the call over; nothing on the way of a worker's call waits."""

    functions: FunctionRegistry
    ledger: Ledger
    invocations: DynamicSupervisor
    ids: Ids
    limits: Limits = attrs.field(factory=Limits)
    draining: bool = False
    refused: int = 0
    _clerk: Owner = attrs.field(factory=lambda: Owner("enqueue"))
    """Who hands calls to the queue, or to a middleware."""

    runners: Runners = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.runners = Runners(self.invocations, self._run, self._stopped)

    # --- calls of workers -------------------------------------------------------------------------------------------

    def pass_on(self, caller: Worker, message: InvokeFunction, text: bytes) -> bool:
        """Route the common call, from worker to worker and nothing unusual about it; False, and no effect, for any other.

        To be tried before `invoke_from`. It does what `_route` does, in one piece: between two single calls other
        processes have had the caches, so that the cost of a message is the amount of code and data it runs through
        (docs/performance.md).
        """
        name, rows = message.invocation_id, self.ledger.rows
        if (
            name is None
            or message.action is not None
            or message.traceparent is not None
            or message.baggage is not None
            or message.metadata is not ABSENT
            or name in rows
            or self.draining
            or len(rows) >= self.limits.in_all
            or len(caller.calling) >= self.limits.per_caller
            or not is_canonical(name)
        ):
            return False
        where = DEFAULT_NAMESPACE if message.namespace is None else message.namespace
        function = self.functions.find(where, message.function_id)
        if function is None or function.handler is not None:
            return False
        executor, data = function.owner, memoryview(message.data)
        if not isinstance(executor, Worker) or executor.closing or executor.outlet is None:
            return False
        if len(data) < 3 or data[0] != OBJECT or data[1] != QUOTE or text.rfind(CALLER_KEY) >= 0:
            return False
        member, tail = function.invoke_member, caller.further_caller_member
        size = ENVELOPE + len(member) + len(data) - 1 + len(tail)
        if (executor.receive_limit is not None and size > executor.receive_limit) or not executor.outlet.has_room(size):
            return False
        self.ledger.open(Invocation(name, function, caller, name))
        executor.outlet.send((INVOKE, name.encode(), member, data[:-1], tail, b"}"), size)
        return True

    def invoke_from(self, caller: Worker, message: InvokeFunction, text: bytes) -> None:
        """Route one `invokefunction` of a worker; `text` is the whole message. Never waits."""
        try:
            if message.action is not None and type(message.action) is Enqueue:
                self._start_step(caller, message, message.data, ABSENT, partial(enqueue, self, message))
            else:
                self._route(caller, message, text)
        except InvocationError as error:
            self.refuse(caller, message, error)

    def invoke_through(self, caller: Worker, message: InvokeFunction, middleware_id: str, request: Payload) -> None:
        """Have a middleware serve a worker's call, in the call's namespace; its outcome is the call's (11.6). Never waits."""
        try:
            step = partial(self._ask_middleware, middleware_id, message.namespace)
            self._start_step(caller, message, request.raw, message.metadata, step)
        except InvocationError as error:
            self.refuse(caller, message, error)

    async def _ask_middleware(self, middleware_id: str, namespace: str | None, call: Call) -> Payload:
        return await self.invoke(middleware_id, call.payload, namespace=namespace, metadata=call.metadata)

    def refuse_action(self, caller: Worker, message: BadAction) -> None:
        """Answer an `invokefunction` with an unknown action (C3)."""
        call = InvokeFunction(message.function_id, message.invocation_id)
        self.refuse(caller, call, InvalidAction("action must be {type: void} or {type: enqueue, queue: <name>}"))

    def _route(self, caller: Worker, message: InvokeFunction, text: bytes) -> None:
        function = self._find(message.namespace, message.function_id, for_worker=True)
        self._admit(caller)
        row = self._row(function, message.invocation_id if message.action is None else None, caller)
        row.traceparent, row.baggage = message.traceparent, message.baggage
        named = text.rfind(CALLER_KEY) >= 0  # from the end: on large texts a third of the cost of `in`
        if function.handler is not None:
            data = with_caller(message.data, caller, named=named)
            self._start(row, data, message.metadata, message.traceparent, message.baggage)
            return
        body, tail = splice_caller(message.data, caller, named=named)
        if message.metadata is ABSENT and message.traceparent is None and message.baggage is None:
            extra = b""
        else:
            extra = extra_members(function.id, message.metadata, message.traceparent, message.baggage)
        self._hand_over(row, *invoke_pieces(row.id, function, body, tail, extra))

    def refuse(self, caller: Worker, message: InvokeFunction, error: InvocationError) -> None:
        """Answer a call that was not accepted, or log it when it wants no answer."""
        self.refused += 1
        if message.invocation_id is None or isinstance(message.action, Void):
            _log.warning("dropped call of %s by worker %s: %s", shown(message.function_id), caller.id, shown(error))
            return
        self._answer(caller, message, ABSENT, to_error_body(error))

    def answer(self, caller: Worker, message: InvokeFunction, value: Json) -> None:
        """Answer a call that was served without entering the ledger."""
        self._answer(caller, message, Payload.of(value).raw, None)

    def _answer(self, caller: Worker, message: InvokeFunction, result: Raw, error: ErrorBody | None) -> None:
        """Answer a call that has no row in the ledger."""
        if caller.outlet is None or caller.closing or not message.invocation_id:
            return
        reply_id = canonical_id(message.invocation_id) or message.invocation_id
        member = function_member(message.function_id)
        trace = (message.traceparent, message.baggage)
        pieces, size = result_pieces(reply_id, member, result, error, *trace, caller.receive_limit)
        caller.outlet.send(pieces, size)

    def result_from(self, executor: Worker, message: InvocationResult) -> None:
        """Take an executor's answer; one that nobody waits for, or from anybody else (C7), is ignored."""
        row = executor.executing.get(message.invocation_id)
        if row is None and (canonical := canonical_id(message.invocation_id)) is not None:
            row = executor.executing.get(canonical)
        if row is not None:
            self.ledger.finish(row, message.result, message.error)

    # --- calls from inside the engine -------------------------------------------------------------------------------

    async def invoke(
        self,
        function_id: str,
        payload: Payload | Json = None,
        *,
        namespace: str | None = None,
        caller: Worker | None = None,
        metadata: Payload | None = None,
        traceparent: str | None = None,
        baggage: str | None = None,
    ) -> Payload:
        """Call a function and wait for its result (5.9).

        Raises InvocationError with the code a worker would see. Cancelling the wait abandons the reply, not the
        handler: what was accepted runs to its end.
        """
        waiter = Waiter()
        row = self._enter(function_id, namespace, caller)
        row.answer, row.traceparent, row.baggage = waiter.answer, traceparent, baggage
        await self._dispatch(row, Payload.of(payload), metadata)
        return await waiter.wait()

    def submit(self, row: Invocation, pieces: Sequence[bytes], metadata: Payload | None) -> bool:
        """Call a function for somebody inside the engine who has no task that waits; `row.answer` is called with the outcome.

        It is to be set when this has returned: nobody is answered before. `row` has a new id, a function that is registered,
        and a well-formed `traceparent` if any; `pieces` is the payload's JSON text. False, and no effect, if this would have
        to wait or cannot be, or the worker is found gone: `invoke` then waits, or says why. It does what `invoke` does, in
        one piece (see `pass_on`).
        """
        function = row.function
        if len(self.ledger.rows) >= self.limits.in_all or not function.owner.available:
            return False
        if function.handler is None:
            return self._submit_to_worker(row, pieces, metadata)
        payload = Payload(Raw(b"".join(pieces)))
        call = Call(function.id, row.id, payload, metadata, None, row.traceparent, row.baggage)
        try:
            self.runners.start_soon(row, call)
        except SupervisorStopped:
            return False
        self.ledger.open(row)
        return True

    def _submit_to_worker(self, row: Invocation, pieces: Sequence[bytes], metadata: Payload | None) -> bool:
        worker, member = row.function.owner, row.function.invoke_member
        if not isinstance(worker, Worker) or worker.closing or worker.outlet is None or worker.outlet.is_full:
            return False
        if metadata is None and row.baggage is None and row.traceparent is not None:
            extra = b',"traceparent":"%b"' % row.traceparent.encode()
        else:
            more = ABSENT if metadata is None else metadata.raw
            extra = extra_members(None, more, row.traceparent, row.baggage)
        size = ENVELOPE + len(member) + sum(map(len, pieces)) + len(extra)
        if (worker.receive_limit is not None and size > worker.receive_limit) or not worker.outlet.has_room(size):
            return False
        self.ledger.open(row)
        worker.outlet.send((INVOKE, row.id.encode(), member, *pieces, extra, b"}"), size)
        return row.id in self.ledger.rows  # a worker that turns out to be gone takes it along

    async def notify(
        self,
        function_id: str,
        payload: Payload | Json = None,
        *,
        namespace: str | None = None,
        caller: Worker | None = None,
        metadata: Payload | None = None,
    ) -> None:
        """Call a function without waiting for it; raises InvocationError only if the call is not accepted."""
        row = self._enter(function_id, namespace, caller)
        await self._dispatch(row, Payload.of(payload), metadata)

    async def _dispatch(self, row: Invocation, payload: Payload, metadata: Payload | None) -> None:
        more = metadata.raw if metadata is not None else ABSENT
        named = row.caller is not None and CALLER_KEY in bytes(payload.raw)
        if row.function.handler is not None:
            data = with_caller(payload.raw, row.caller, named=named) if row.caller else payload.raw
            self._start(row, data, more, row.traceparent, row.baggage)
            return
        outlet = row.function.worker.outlet if row.function.worker else None
        if outlet is not None and outlet.is_full:
            await outlet.wait_room()
        body, tail = splice_caller(payload.raw, row.caller, named=named) if row.caller else (payload.raw, b"")
        called = row.function.id if row.caller is not None else None
        extra = extra_members(called, more, row.traceparent, row.baggage)
        self._hand_over(row, *invoke_pieces(row.id, row.function, memoryview(body), tail, extra))

    def resolve(self, invocation_id: str, value: Payload | Json = None, error: InvocationError | None = None) -> bool:
        """Bring the outcome of an invocation whose handler returned `DEFERRED`; False if it is not in flight."""
        row = self.ledger.rows.get(invocation_id)
        if row is None:
            return False
        if error is not None:
            return self.ledger.finish(row, error=to_error_body(error))
        return self.ledger.finish(row, Payload.of(value).raw)

    # --- shared -----------------------------------------------------------------------------------------------------

    def _find(self, namespace: str | None, function_id: str, *, for_worker: bool) -> Function:
        where = DEFAULT_NAMESPACE if namespace is None else check_namespace(namespace)
        function = self.functions.find(where, function_id)
        if function is None:
            raise self.functions.missing(where, function_id, for_worker=for_worker)
        if not function.owner.available:
            raise ModuleUnavailable(f"the module of {function_id} is being restarted")
        return function

    def _enter(self, function_id: str, namespace: str | None, caller: Worker | None) -> Invocation:
        """A row for a call from inside the engine; one by a worker in this process keeps to the limits of workers."""
        function = self._find(namespace, function_id, for_worker=caller is not None)
        if caller is not None:
            self._admit(caller)
        return self._row(function, None, caller)

    def _admit(self, caller: Worker) -> None:
        if self.draining:
            raise ShuttingDown("the engine is stopping")
        if len(caller.calling) >= self.limits.per_caller:
            raise Overloaded(f"{self.limits.per_caller} invocations of this worker are in flight")

    def _row(self, function: Function, wanted_id: str | None, caller: Worker | None) -> Invocation:
        rows = self.ledger.rows
        if len(rows) >= self.limits.in_all:
            raise Overloaded(f"{self.limits.in_all} invocations are in flight")
        if wanted_id is None:
            return Invocation(self.ids.new(), function, caller)
        known = wanted_id if is_canonical(wanted_id) else canonical_id(wanted_id)
        own = known if known is not None and known not in rows else self.ids.new()
        return Invocation(own, function, caller, known or wanted_id or None)

    def _hand_over(self, row: Invocation, pieces: Sequence[Buffer], size: int) -> None:
        """Send a call to the worker that runs it."""
        worker = row.function.owner
        assert isinstance(worker, Worker)
        outlet = worker.outlet
        if outlet is None or worker.closing:
            raise ChannelSendFailed(f"the worker of {row.function.id} is closing")
        if worker.receive_limit is not None and size > worker.receive_limit:
            raise PayloadTooLarge(f"the call has {size} bytes, the executor's SDK reads at most {worker.receive_limit}")
        if not outlet.has_room(size):
            raise Overloaded(f"too many bytes wait for the worker of {row.function.id}")
        self.ledger.open(row)
        outlet.send(pieces, size)

    def _start(self, row: Invocation, data: Raw, metadata: Raw, traceparent: str | None, baggage: str | None) -> None:
        """Run a handler inside the engine, in a task of its own that outlives the caller."""
        sidecar = Payload(metadata) if memoryview(metadata) and not is_null(metadata) else None
        call = Call(row.function.id, row.id, Payload(data), sidecar, row.caller, traceparent, baggage)
        try:
            row.child = self.invocations.start_soon(
                self._run, row, call, name=row.id, on_exit=partial(self._ended, row)
            )
        except SupervisorStopped as stopped:
            raise ShuttingDown("the engine runs no handlers: it has not started, or has stopped") from stopped
        self.ledger.open(row)  # before the task's first step

    async def _run(self, row: Invocation, call: Call) -> None:
        handler = row.function.handler
        assert handler is not None
        if self.ledger.rows.get(row.id) is not row:
            return  # its owner has left before it began
        try:
            value = await handler(call)
            if value is DEFERRED:
                row.child = None
            else:
                self.ledger.finish(row, Payload.of(value).raw)
        except InvocationError as error:
            self.ledger.finish(row, error=to_error_body(error))
        except Exception as error:  # noqa: BLE001  # the invocation boundary: a handler's bug is its caller's error
            _log.error("invocation %s of %s failed", row.id, shown(row.function.id), exc_info=error)
            self.ledger.finish(row, error=to_error_body(error))

    def _stopped(self, row: Invocation) -> None:
        self.ledger.finish(row, error=STOPPED)

    def _ended(self, row: Invocation, _: Exit) -> None:
        """The handler's task is over; a killed one has not answered yet."""
        if row.child is not None:
            self.ledger.finish(row, error=STOPPED)

    def _start_step(self, caller: Worker, message: InvokeFunction, data: Raw, metadata: Raw, handler: Handler) -> None:
        """Serve a call by a step inside the engine, in place of its function and under its id."""
        namespace = check_namespace(message.namespace)
        self._admit(caller)
        step = Function(message.function_id, self._clerk, namespace, handler=handler)
        row = self._row(step, None if isinstance(message.action, Void) else message.invocation_id, caller)
        row.traceparent, row.baggage = message.traceparent, message.baggage
        self._start(row, data, metadata, message.traceparent, message.baggage)
