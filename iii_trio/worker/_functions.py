"""Handlers of functions: what a coroutine function says about itself, and the boundary around each of its runs."""

import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from iii_trio.kernel import Call
from iii_trio.protocol import Json, Payload
from iii_trio.protocol.errors import FunctionFailed, InputRejected, InvocationError, RemoteProtocolError, ungrouped

from ._channels import Ends, live_value
from ._schema import holds_attrs, schema_of
from ._trace import current_trace

_log = logging.getLogger("iii_trio.worker")
_CALLER = "_caller_worker_id"
_SCALARS = frozenset({dict, list, str, int, float, bool, type(None)})

FunctionHandler = Callable[..., Awaitable[Any]]
"""`async (payload) -> value`; with a second parameter it is handed the `InvocationContext`, too; with none, nothing."""


@attrs.frozen
class InvocationContext:
    """What a handler may want to know of the call besides its payload.

    `caller_worker_id` is there when the payload is an object and a worker called directly (wire-protocol 5.2).
    `metadata` is what the caller or the trigger gave along (5.8), None if nothing.
    """

    function_id: str
    invocation_id: str
    metadata: Json
    caller_worker_id: str | None
    traceparent: str | None
    baggage: str | None


@attrs.frozen(eq=False)
class OfferedFunction:
    """A function that a worker offers: how to run it, and what it says about itself."""

    id: str
    run: Callable[[Call], Awaitable[Payload]]
    description: str | None = None
    metadata: Payload | None = None
    request_format: Payload | None = None
    response_format: Payload | None = None


def offer(
    function_id: str,
    handler: FunctionHandler,
    ends: Ends,
    *,
    description: str | None,
    metadata: Json,
    request_format: Json,
    response_format: Json,
) -> OfferedFunction:
    """Look at a handler and make it callable. Formats that are not given come from its annotations.

    Raises TypeError if the handler is not async, or wants more than a payload and a context, or is annotated with
    names that cannot be resolved.
    """
    parameters, result = _signature(handler)
    payload_type = parameters[0].annotation if parameters else inspect.Parameter.empty
    if request_format is None and holds_attrs(payload_type):
        request_format = schema_of(payload_type)
    if response_format is None and holds_attrs(result):
        response_format = schema_of(result)
    return OfferedFunction(
        function_id,
        _guarded(_arguments(parameters, ends), handler),
        description,
        *(None if value is None else Payload.of(value) for value in (metadata, request_format, response_format)),
    )


def to_payload(value: Json) -> Payload:
    """Encode a value that a user's code gave: JSON values and attrs objects. Raises OutputRejected."""
    if type(value) not in _SCALARS and attrs.has(type(value)):
        from ._convert import unstructure

        value = unstructure(value)
    return Payload.of(value)


def _signature(handler: FunctionHandler) -> tuple[list[inspect.Parameter], Any]:
    """The parameters to fill, by position, and the annotation of the result."""
    call = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004  # not a test
    if not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)):
        raise TypeError(f"a handler must be an async function, not {handler!r}")
    try:
        signature = inspect.signature(handler, eval_str=True)
    except NameError as error:
        raise TypeError(f"the annotations of {handler!r} cannot be resolved: {error}") from error
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    found = [parameter for parameter in signature.parameters.values() if parameter.kind in positional]
    wanted = found[:1] + [parameter for parameter in found[1:] if parameter.default is parameter.empty]
    if len(wanted) > 2:
        raise TypeError(f"{handler!r} must take a payload and at most an InvocationContext")
    return wanted, signature.return_annotation


def _arguments(parameters: list[inspect.Parameter], ends: Ends) -> Callable[[Call], tuple[Any, ...]]:
    """What a handler with these parameters is called with."""
    if not parameters:
        return lambda _: ()
    read = _payload_reader(parameters[0].annotation)
    if len(parameters) == 1:
        return lambda call: (read(_value(call, ends)),)
    return lambda call: (read(_value(call, ends)), _context(call))


def _value(call: Call, ends: Ends) -> Json:
    try:
        return live_value(call.payload, ends)
    except RemoteProtocolError as error:
        raise InputRejected(f"the payload cannot be decoded: {error}") from error


def _payload_reader(annotation: Any) -> Callable[[Json], Any]:
    if annotation is inspect.Parameter.empty or not holds_attrs(annotation):
        return lambda value: value
    from ._convert import MismatchError, structuring

    structure, is_class = structuring(annotation), attrs.has(annotation)

    def read(value: Json) -> Any:
        if not is_class and isinstance(value, dict):  # of a mapping, the engine's member is not one of the caller's
            value = {key: inner for key, inner in value.items() if key != _CALLER}
        try:
            return structure(value)
        except MismatchError as error:
            raise InputRejected(f"the payload does not fit: {error}") from error

    return read


def _context(call: Call) -> InvocationContext:
    value = call.payload.value
    caller = value.get(_CALLER) if isinstance(value, dict) else None
    metadata = call.metadata.value if call.metadata is not None else None
    return InvocationContext(call.function_id, call.invocation_id, metadata, caller, call.traceparent, call.baggage)


def _guarded(
    arguments: Callable[[Call], tuple[Any, ...]], handler: FunctionHandler
) -> Callable[[Call], Awaitable[Payload]]:
    """Run the handler so that only InvocationError (and cancellation) comes out of it."""

    async def run(call: Call) -> Payload:
        current_trace.set((call.traceparent, call.baggage))
        try:
            return to_payload(await handler(*arguments(call)))
        except InvocationError:
            raise
        except Exception as error:  # the invocation boundary: a handler's bug is its caller's error
            raise _failure(call, ungrouped(error)) from error

    return run


def _failure(call: Call, error: Exception) -> InvocationError:
    if isinstance(error, InvocationError):
        return error
    _log.error("invocation %s of %s failed", call.invocation_id, call.function_id, exc_info=error)
    stack = "".join(traceback.format_exception(error))
    return FunctionFailed(str(error) or type(error).__name__, stacktrace=stack)
