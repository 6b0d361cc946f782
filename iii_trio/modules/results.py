"""What a function inside the engine may answer, and how that becomes a payload (config-cli-modules 9.1, 9.2)."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

import attrs

from iii_trio.kernel import DEFERRED, Call, Handler
from iii_trio.protocol import ErrorBody, Json, Payload
from iii_trio.protocol.errors import from_error_body


@attrs.frozen
class Success:
    """The function succeeded with a value (None = null)."""

    value: Json = None


@attrs.frozen
class Failure:
    """The function failed; queues and triggers treat it by their retry rules."""

    error: ErrorBody


@attrs.frozen
class Deferred:
    """The outcome comes later, through `ModuleEngine.resolve` under the invocation id."""


@attrs.frozen
class NoResult:
    """Success without a value, at once."""


FunctionResult = Success | Failure | Deferred | NoResult


@runtime_checkable
class FunctionHandler(Protocol):
    """The long form of a handler, for those that need the invocation id."""

    async def handle_function(self, invocation_id: str, function_id: str, payload: Json) -> FunctionResult | Json:
        """Run one invocation."""
        ...


ShortHandler = Callable[[Any], Awaitable[Any]]
"""The short form: `async (input) -> value or FunctionResult`."""


@attrs.frozen
class RegisterFunctionRequest:
    """What a module says about a function. Formats are JSON Schemas for listings; nothing is checked against them."""

    function_id: str
    description: str | None = None
    request_format: Json = None
    response_format: Json = None
    metadata: Json = None


def to_handler(handler: FunctionHandler | ShortHandler) -> Handler:
    """Make either form a kernel handler. A raised exception becomes `invocation_failed` at the bus."""

    async def handle(call: Call) -> object:
        if isinstance(handler, FunctionHandler):
            result = await handler.handle_function(call.invocation_id, call.function_id, call.payload.value)
        else:
            result = await handler(call.payload.value)
        return _outcome(result)

    return handle


def _outcome(result: object) -> object:
    match result:
        case Success(value):
            return value
        case Failure(error):
            raise from_error_body(error)
        case Deferred():
            return DEFERRED
        case NoResult():
            return None
        case _:
            return result


def optional_payload(value: Json) -> Payload | None:
    """A payload for a listing, or None."""
    return None if value is None else Payload.of(value)
