"""One call over one connection: what the commands that talk to a running engine need (config-cli-modules 10.2)."""

import os
from collections.abc import Iterator
from typing import Final

import attrs
import trio
from msgspec import Raw
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, open_websocket

from iii_trio.protocol import decode, encode
from iii_trio.protocol.errors import IIIError, RemoteProtocolError
from iii_trio.protocol.messages import InvocationResult, InvokeFunction

_MAX_MESSAGE: Final = 64 << 20  # as large as the engine's largest (wire-protocol 1.2)
_READ_SIZE: Final = 64 << 10
_GOODBYE: Final = 1.0


class EngineUnreachable(IIIError):  # noqa: N818  a state of affairs, as the command reports it
    """There is no engine at the address, it went away during the call, or it did not answer in time."""


@attrs.frozen
class EngineAddress:
    """Where a running engine listens for workers."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"ws://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@attrs.frozen
class Question:
    """One synchronous invocation. `invocation_id` is a fresh UUID; `payload` is JSON text."""

    invocation_id: str
    function_id: str
    payload: bytes = b"{}"
    namespace: str | None = None


def ask(engine: EngineAddress, question: Question, timeout: float) -> InvocationResult:
    """Connect as a worker without a name, call one function, disconnect; blocks for `timeout` seconds at most.

    An error that the function or the engine answers is in the result. Raises EngineUnreachable.
    """
    return trio.run(_ask, engine, question, timeout)


async def _ask(engine: EngineAddress, question: Question, timeout: float) -> InvocationResult:
    with trio.move_on_after(timeout):
        return await _call(engine, question)
    raise EngineUnreachable(f"Timed out waiting for the engine at {engine} ({timeout:g} s)")


async def _call(engine: EngineAddress, question: Question) -> InvocationResult:
    answer: InvocationResult | None = None
    try:
        async with open_websocket(
            engine.host,
            engine.port,
            "/",
            use_ssl=False,
            max_message_size=_MAX_MESSAGE,
            receive_buffer_size=_READ_SIZE,
            disconnect_timeout=_GOODBYE,
        ) as socket:
            await socket.send_message(_message(question))
            answer = await _answer(socket, question.invocation_id)
    except (HandshakeError, ConnectionClosed) as error:
        if answer is None:  # a goodbye that fails takes nothing away from an answer
            raise EngineUnreachable(f"cannot reach the engine at {engine}: {_reason(error)}") from error
    assert answer is not None
    return answer


def _message(question: Question) -> str:
    return encode(
        InvokeFunction(
            question.function_id, question.invocation_id, data=Raw(question.payload), namespace=question.namespace
        )
    ).decode()


async def _answer(socket: WebSocketConnection, invocation_id: str) -> InvocationResult:
    while True:
        text = await socket.get_message()
        try:
            message = decode(text.encode() if isinstance(text, str) else text)
        except RemoteProtocolError:
            continue  # a message of another release
        if isinstance(message, InvocationResult) and message.invocation_id == invocation_id:
            return message


def _reason(error: HandshakeError | ConnectionClosed) -> str:
    if isinstance(error, ConnectionClosed):
        return "the connection was closed before the answer came"
    if isinstance(error, ConnectionRejected):
        return f"what listens there is no engine (HTTP status {error.status_code})"
    failures = dict.fromkeys(_failures(error))
    return ", ".join(failures) or f"no WebSocket handshake ({type(error).__name__})"


def _failures(error: BaseException) -> Iterator[str]:
    """What went wrong at each address of the host, without the layers around it."""
    below = error.exceptions if isinstance(error, BaseExceptionGroup) else (error.__cause__,)
    found = [text for cause in below if cause is not None for text in _failures(cause)]
    if found or not isinstance(error, OSError):
        yield from found
    elif error.errno is not None and error.errno > 0:
        yield os.strerror(error.errno)
    else:
        yield error.strerror or str(error)
