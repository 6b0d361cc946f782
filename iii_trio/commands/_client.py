"""One call over one connection: what the commands that talk to a running engine need (config-cli-modules 10.2)."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Final

import attrs
import trio
from msgspec import Raw
from trio_websocket import ConnectionRejected

from iii_trio.protocol import decode, encode
from iii_trio.protocol.errors import IIIError, RemoteProtocolError
from iii_trio.protocol.messages import InvocationResult, InvokeFunction
from iii_trio.worker.websocket import open_websocket
from iii_trio.worker.wire import Address, LinkLost, Wire

_GOODBYE: Final = 1.0


class EngineUnreachable(IIIError):
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


async def _ask(engine: EngineAddress, question: Question, seconds: float) -> InvocationResult:
    address = Address(engine.host, engine.port, "/", secure=False)
    with trio.move_on_after(seconds):
        try:
            async with open_websocket(address, {}, partial(_open_stream, engine)) as wire:
                await wire.send(_message(question))
                answer = await _answer(wire, question.invocation_id)
                await _close(wire)
                return answer
        except LinkLost as error:
            raise EngineUnreachable(f"cannot reach the engine at {engine}: {_reason(error)}") from error
    raise EngineUnreachable(f"Timed out waiting for the engine at {engine} ({seconds:g} s)")


async def _open_stream(engine: EngineAddress) -> trio.abc.Stream:
    try:
        return await trio.open_tcp_stream(engine.host, engine.port)
    except OSError as error:
        raise OSError(", ".join(dict.fromkeys(_failures(error)))) from error


def _message(question: Question) -> bytes:
    data = Raw(question.payload)
    return encode(InvokeFunction(question.function_id, question.invocation_id, data=data, namespace=question.namespace))


async def _answer(wire: Wire, invocation_id: str) -> InvocationResult:
    while True:
        try:
            message = decode(await wire.receive())
        except RemoteProtocolError:
            continue  # a message of another release
        if isinstance(message, InvocationResult) and message.invocation_id == invocation_id:
            return message


async def _close(wire: Wire) -> None:
    """Say goodbye; that it fails takes nothing away from the answer."""
    with trio.move_on_after(_GOODBYE):
        try:
            await wire.aclose()
        except LinkLost:
            return


def _reason(error: LinkLost) -> str:
    if isinstance(error.__cause__, ConnectionRejected):
        return f"what listens there is no engine (HTTP status {error.__cause__.status_code})"
    return str(error)


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
