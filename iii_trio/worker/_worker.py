"""`Worker`: what a program says to an engine, the same over a WebSocket and inside the engine's process."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

import attrs

from iii_trio.kernel import DEFAULT_NAMESPACE, Ids
from iii_trio.protocol import Json, Payload
from iii_trio.protocol.errors import OutputRejected
from iii_trio.protocol.messages import (
    ABSENT,
    RegisterTrigger,
    RegisterTriggerType,
    UnregisterTrigger,
    UnregisterTriggerType,
)

from ._channels import Channel, ChannelReader, ChannelWriter, Ends
from ._functions import FunctionHandler, offer, to_payload
from ._link import Link, LinkStatistics
from ._trace import current_trace
from ._triggers import TriggerError, TriggerHandler, Triggers

H = TypeVar("H", bound=Callable[..., Awaitable[object]])
T = TypeVar("T")
_IN_DEFAULT = ("engine::", "configuration::")


@attrs.frozen
class WorkerStatistics:
    """Counts of one worker: its link, and the triggers it serves as a provider."""

    link: LinkStatistics
    triggers_served: int
    trigger_errors: int


@attrs.frozen(eq=False)
class TriggerHandle:
    """A trigger that this worker has registered."""

    id: str
    trigger_type: str
    function_id: str
    _link: Link = attrs.field(repr=False)

    async def unregister(self) -> None:
        """Remove the trigger. Twice is as good as once; cancelled, it has happened or not."""
        await self._link.wait_room()
        self._link.register(UnregisterTrigger(self.id, self.trigger_type))


@attrs.frozen(eq=False)
class Worker:
    """Offers functions to an engine, calls those of others and registers triggers (wire-protocol 2, 5, 7).

    Made by `connect` and `open_local_worker`; usable from any task until their block ends. Payloads and results are
    JSON values or attrs objects. A call belongs to the trace of the invocation whose handler makes it.
    """

    name: str
    namespace: str
    _link: Link = attrs.field(repr=False)
    _triggers: Triggers = attrs.field(repr=False)
    _ids: Ids = attrs.field(repr=False)
    _ends: Ends = attrs.field(repr=False)

    @property
    def id(self) -> str:
        """Its id at the engine; another one after each reconnect."""
        return self._link.worker_id

    @property
    def trigger_errors(self) -> tuple[TriggerError, ...]:
        """The last hundred refusals of triggers of this worker, oldest first; each was also logged."""
        return tuple(self._triggers.errors)

    def statistics(self) -> WorkerStatistics:
        """Counts, for monitoring and leak tests."""
        return WorkerStatistics(self._link.statistics(), len(self._triggers), len(self._triggers.errors))

    # --- functions --------------------------------------------------------------------------------------------------

    def function(
        self,
        function_id: str,
        *,
        description: str | None = None,
        metadata: Json = None,
        request_format: Json = None,
        response_format: Json = None,
    ) -> Callable[[H], H]:
        """Decorate a handler to offer it; see `register_function`. The handler itself stays as it is."""

        def register(handler: H) -> H:
            self.register_function(
                function_id,
                handler,
                description=description,
                metadata=metadata,
                request_format=request_format,
                response_format=response_format,
            )
            return handler

        return register

    def register_function(
        self,
        function_id: str,
        handler: FunctionHandler,
        *,
        description: str | None = None,
        metadata: Json = None,
        request_format: Json = None,
        response_format: Json = None,
    ) -> None:
        """Offer a function, in the place of an earlier one of this id.

        The handler takes the payload and, if it wants, an `InvocationContext`. Is the payload annotated with an attrs
        class, it is structured strictly (what does not fit is answered `deserialization_error`), and the JSON Schemas
        of the annotations become `request_format` and `response_format` unless these are given. Each call runs in a
        task of its own. What the handler raises goes to the caller: an InvocationError as it is, everything else as
        `invocation_failed` with its text. The end of the worker's block cancels it.

        Raises TypeError for a handler that cannot be called so; in the engine's process OwnershipConflict if the id is
        taken (over a socket that is a warning in the log, wire-protocol 4.2).
        """
        self._link.offer(
            offer(
                function_id,
                handler,
                self._ends,
                description=description,
                metadata=metadata,
                request_format=request_format,
                response_format=response_format,
            )
        )

    def unregister_function(self, function_id: str) -> bool:
        """Take a function away; what runs goes on. False if this worker does not offer it."""
        return self._link.withdraw(function_id)

    # --- calls ------------------------------------------------------------------------------------------------------

    @overload
    async def trigger(
        self,
        function_id: str,
        payload: Json = None,
        *,
        namespace: str | None = None,
        metadata: Json = None,
        result_type: type[T],
    ) -> T: ...

    @overload
    async def trigger(
        self,
        function_id: str,
        payload: Json = None,
        *,
        namespace: str | None = None,
        metadata: Json = None,
        result_type: None = None,
    ) -> Json: ...

    async def trigger(
        self,
        function_id: str,
        payload: Json = None,
        *,
        namespace: str | None = None,
        metadata: Json = None,
        result_type: type[T] | None = None,
    ) -> Json:
        """Call a function and return its result, made a `result_type` if one is given.

        `namespace` is this worker's own unless given, and `default` for the engine's functions. `metadata` travels
        beside the payload. The deadline is the caller's cancel scope; cancelling gives up the wait, not the invocation.

        Raises InvocationError with the code of the function or the engine; WorkerDisconnected if the connection drops
        while the call is in flight; Overloaded if too many wait for a connection; OutputRejected if the payload is no
        JSON value or the result no `result_type`.
        """
        result = await self._link.call(
            function_id,
            to_payload(payload),
            self._namespace_for(function_id) if namespace is None else namespace,
            None if metadata is None else to_payload(metadata),
            current_trace.get(),
        )
        return result.value if result_type is None else _as(result_type, result.value, function_id)

    async def trigger_void(
        self, function_id: str, payload: Json = None, *, namespace: str | None = None, metadata: Json = None
    ) -> None:
        """Call a function and forget it: nobody learns what becomes of it, not even that it does not exist.

        Waits only for room in the queue to the engine. Raises OutputRejected; Overloaded if too many calls wait for a
        connection.
        """
        await self._link.notify(
            function_id,
            to_payload(payload),
            self._namespace_for(function_id) if namespace is None else namespace,
            None if metadata is None else to_payload(metadata),
            current_trace.get(),
        )

    async def enqueue(self, queue: str, function_id: str, payload: Json = None, *, namespace: str | None = None) -> str:
        """Hand a call to a named queue, which runs it later; returns the id of the message (wire-protocol 5.3).

        Raises as `trigger`; `enqueue_error` if the queue did not take it.
        """
        home = self._namespace_for(function_id) if namespace is None else namespace
        receipt = await self._link.enqueue(queue, function_id, to_payload(payload), home, current_trace.get())
        message_id: str = receipt.value["messageReceiptId"]
        return message_id

    def _namespace_for(self, function_id: str) -> str | None:
        """Where an id is looked for: at home, like the official SDKs; None is the engine's default."""
        if self.namespace == DEFAULT_NAMESPACE or function_id.startswith(_IN_DEFAULT):
            return None
        return self.namespace

    async def create_channel(self, buffer_size: int | None = None) -> Channel:
        """Make a data channel: a stream of items from one writer to one reader, anywhere (wire-protocol 10).

        At most `buffer_size` items wait in the engine (64 unless given); a slow reader makes the writer wait. The channel
        is gone unless both ends are opened within five minutes. Raises as `trigger`; Overloaded if there are too many.
        """
        made = await self.trigger("engine::channels::create", {"buffer_size": buffer_size})
        return Channel(ChannelWriter(made["writer"], self._ends), ChannelReader(made["reader"], self._ends))

    # --- triggers ---------------------------------------------------------------------------------------------------

    async def register_trigger(
        self,
        trigger_type: str,
        function_id: str,
        config: Json = None,
        *,
        metadata: Json = None,
        namespace: str | None = None,
        trigger_namespace: str | None = None,
        trigger_id: str | None = None,
    ) -> TriggerHandle:
        """Have a function called when something happens. The trigger lives until unregistered or the worker ends.

        `namespace` is where the function is looked for (this worker's own unless given), `trigger_namespace` where the
        provider of the type is. A type that nobody provides yet is waited for. That a provider refuses comes later: a
        warning in the log and an entry in `trigger_errors`.

        Raises OutputRejected if `config` or `metadata` are no JSON values. Cancelled, nothing is registered.
        """
        message = RegisterTrigger(
            trigger_id or self._ids.new(),
            trigger_type,
            function_id,
            to_payload(config).raw,
            ABSENT if metadata is None else to_payload(metadata).raw,
            self._namespace_for(function_id) if namespace is None else namespace,
            trigger_namespace,
        )
        await self._link.wait_room()
        self._link.register(message)
        return TriggerHandle(message.id, trigger_type, function_id, self._link)

    def register_trigger_type(
        self,
        type_id: str,
        description: str,
        handler: TriggerHandler,
        *,
        trigger_request_format: Json = None,
        call_request_format: Json = None,
    ) -> None:
        """Become the provider of a trigger type; `handler` says how its triggers begin and end.

        The formats are JSON Schemas of a trigger's config and of what its function is called with; shown, not enforced.
        """
        config_schema, call_schema = (
            ABSENT if schema is None else Payload.of(schema).raw
            for schema in (trigger_request_format, call_request_format)
        )
        self._triggers.provide(type_id, handler)
        self._link.register(RegisterTriggerType(type_id, description, config_schema, call_schema))

    def unregister_trigger_type(self, type_id: str) -> bool:
        """Provide a type no longer; its triggers are let go and wait for another provider. False if it was not."""
        if not self._triggers.withdraw(type_id):
            return False
        self._link.register(UnregisterTriggerType(type_id))
        return True


def _as(kind: type[T], value: Json, function_id: str) -> T:
    from ._convert import MismatchError, structuring

    try:
        return structuring(kind)(value)
    except MismatchError as error:
        raise OutputRejected(f"the result of {function_id} does not fit {kind.__name__}: {error}") from error
