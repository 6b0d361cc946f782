"""The action `enqueue` of a call: the queue module takes it, and its caller gets a receipt (wire-protocol 5.3)."""

from typing import TYPE_CHECKING, Final

from iii_trio.protocol import Json
from iii_trio.protocol.errors import EnqueueFailed, InvocationError
from iii_trio.protocol.messages import Enqueue, InvokeFunction

from ._wire import onward_baggage
from .functions import Call
from .workers import DEFAULT_NAMESPACE, check_namespace

if TYPE_CHECKING:
    from .bus import Bus

_ENQUEUE_FUNCTION: Final = "engine::queue::enqueue"


async def enqueue(bus: "Bus", message: InvokeFunction, call: Call) -> Json:
    """Hand a call to the queue module in place of its function; the receipt. Raises EnqueueFailed.

    Cancelled: the queue may have taken it or not.
    """
    assert isinstance(message.action, Enqueue)
    receipt = bus.ids.new()
    namespace = check_namespace(message.namespace)
    order = {
        "queue": message.action.queue,
        "function_id": message.function_id,
        "data": call.payload.raw if memoryview(call.payload.raw) else None,
        "messageReceiptId": receipt,
        "traceparent": call.traceparent,
        "baggage": onward_baggage(message.function_id, call.baggage),
        **({"namespace": namespace} if namespace != DEFAULT_NAMESPACE else {}),
    }
    try:
        await bus.invoke(_ENQUEUE_FUNCTION, order)
    except InvocationError as error:
        raise EnqueueFailed(f"{error.code}: {error.message}") from error
    return {"messageReceiptId": receipt}
