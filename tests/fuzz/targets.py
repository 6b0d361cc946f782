"""What must hold for any bytes whatever: one function per decoder, which raises if it does not."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
import h11
from websockets.exceptions import PayloadTooBig
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from iii_trio.protocol import BadAction, Payload, decode, decode_announcement, encode
from iii_trio.protocol.errors import InputRejected, RemoteProtocolError
from iii_trio.protocol.messages import ABSENT, InvocationResult, InvokeFunction
from iii_trio.sockets import (
    BATCH,
    MAX_FRAME,
    CloseReason,
    FrameSplitter,
    KnownPath,
    Refusal,
    Upgrade,
    read_upgrade,
    refusal_response,
)

from .pieces import pieces_of
from .recipe import Recipe
from .requests import requests

HEADER = 14
"""Bytes of the longest frame header."""

VIOLATIONS: Final = {CloseReason.PROTOCOL_ERROR, CloseReason.NOT_UTF8, CloseReason.TOO_BIG}
PATHS: Final = KnownPath("/", "/otel")
Said = tuple[str, bytes]


# --- frames -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Heard:
    """What a splitter made of a stream."""

    messages: list[Said]
    answers: bytes
    ended: CloseReason | None


def split(pieces: Iterable[bytes]) -> Heard:
    """Feed a splitter piece by piece as a connection does; what it holds back must be bounded by a frame."""
    splitter, heard, rest = FrameSplitter(), list[Said](), b""
    for piece in pieces:
        data, position, incomplete = memoryview(rest + piece), 0, None
        while incomplete is None and splitter.ended is None:
            batch: list[bytes | memoryview] = []
            position, incomplete = splitter.split(data, position, batch)
            assert len(batch) <= BATCH
            heard += [("text" if isinstance(message, bytes) else "binary", bytes(message)) for message in batch]
        rest = bytes(data[position:])
        assert incomplete is None or incomplete <= MAX_FRAME + HEADER
        assert incomplete is None or len(rest) < max(incomplete, HEADER)
    return Heard(heard, b"".join(splitter.answer), splitter.ended)


def independent(stream: bytes) -> Heard:
    """The same by `websockets`' own protocol, fed with everything at once."""
    protocol = Protocol(Side.SERVER, state=OPEN, max_size=4 * MAX_FRAME)
    protocol.receive_data(stream)
    messages, ended = list[Said](), None
    kind, content = "", b""
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode is Opcode.CLOSE:
            ended = CloseReason.PEER_CLOSED
        if event.opcode in CTRL_OPCODES:
            continue
        if event.opcode is not Opcode.CONT:
            kind, content = event.opcode.name.lower(), b""
        content += bytes(event.data)
        if event.fin:
            messages.append((kind, content))
    answers = b"".join(protocol.data_to_send())
    if protocol.parser_exc is not None:
        too_big = isinstance(protocol.parser_exc, PayloadTooBig)
        ended = CloseReason.TOO_BIG if too_big else CloseReason.PROTOCOL_ERROR
    return Heard(messages, answers, ended)


def frames(data: bytes) -> None:
    """However a stream is cut, it says the same, and what an independent implementation hears."""
    stream, pieces = pieces_of(data)
    heard = split([stream])
    assert split(pieces) == heard
    assert sum(len(content) for _, content in heard.messages) <= len(stream)
    other = independent(stream)
    if heard.ended is CloseReason.NOT_UTF8:  # which the other one leaves to its user
        assert other.messages[: len(heard.messages)] == heard.messages
        assert other.messages[len(heard.messages) :] != []
        assert not _is_utf8(other.messages[len(heard.messages)][1])
        return
    assert heard.messages == other.messages
    assert all(_is_utf8(content) for kind, content in heard.messages if kind == "text")
    if heard.ended is None:
        assert other.ended is None or other.ended in VIOLATIONS  # seen in a header whose frame is not whole yet
    elif heard.ended is CloseReason.TOO_BIG:
        assert other.ended in {None, CloseReason.TOO_BIG, CloseReason.PROTOCOL_ERROR}  # our frames are smaller
    else:
        assert heard.ended is other.ended
    if other.ended not in VIOLATIONS:
        assert heard.answers == other.answers


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- messages ---------------------------------------------------------------------------------------------------------


def messages(data: bytes) -> None:
    """A text is a message, which comes back from its own encoding unchanged, or RemoteProtocolError; nothing else."""
    text = Recipe(data[1:]).message() if data[:1] == b"\x01" else data
    text = text.decode(errors="replace").encode()  # the frame layer has made sure of UTF-8
    try:
        message = decode(text)
    except RemoteProtocolError as error:
        str(error)
        return
    if isinstance(message, BadAction):
        return
    encoded = encode(message)
    assert decode(encoded) == message
    assert encode(decode(encoded)) == encoded
    for raw in (getattr(message, name) for name in message.__struct_fields__):
        if type(raw) is type(ABSENT) and raw != ABSENT:
            _read_payload(Payload(raw))
    if isinstance(message, InvokeFunction):
        _read_announcement(message)
    if isinstance(message, InvocationResult) and message.error is not None:
        assert isinstance(message.error.code, str)
        assert isinstance(message.error.message, str)


def _read_payload(payload: Payload) -> None:
    try:
        value = payload.value
    except RemoteProtocolError:
        return
    assert payload.is_null == (value is None)
    again = Payload.of(value)
    assert again.value == value


def _read_announcement(message: InvokeFunction) -> None:
    try:
        decode_announcement(message.data)
    except InputRejected as error:
        str(error)


# --- the opening handshake --------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Pieces:
    """A stream that brings given pieces at once, then the end."""

    left: list[bytes]
    peer_address: str | None = None

    async def receive(self, carry: bytes) -> memoryview:
        return memoryview(carry + (self.left.pop(0) if self.left else b""))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a handshake only reads, it does not {name}")


def run(waits_for_nothing: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits."""
    try:
        waits_for_nothing.send(None)
    except StopIteration as result:
        return result.value
    raise AssertionError("it waits")


def handshake(data: bytes) -> None:
    """A head is an upgrade, a refusal that can be answered, or not whole; however it is cut, the same."""
    stream, pieces = pieces_of(data)
    whole, cut = Pieces([stream] if stream else []), Pieces(pieces)
    asked, again = run(read_upgrade(whole, PATHS)), run(read_upgrade(cut, PATHS))
    if isinstance(asked, Upgrade):
        assert isinstance(again, Upgrade)
        assert attrs.evolve(again, leftover=b"") == attrs.evolve(asked, leftover=b"")
        assert again.leftover + b"".join(cut.left) == asked.leftover
        assert stream.endswith(asked.leftover)
        assert asked.path in PATHS
        assert _status(asked.response, b"GET") == 101
    elif isinstance(asked, Refusal):
        assert isinstance(again, Refusal)
        # a flaw may be seen before another one has come
        assert again.status == asked.status or b"\r\n\r\n" not in stream
        assert _status(refusal_response(asked), b"HEAD" if asked.is_head else b"GET") == asked.status
    else:
        assert asked is again is None


def _status(response: bytes, method: bytes) -> int:
    """The status of a whole answer, as a client reads it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "engine"), *_UPGRADE]))
    client.send(h11.EndOfMessage())
    client.receive_data(response)
    event = client.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    return event.status_code


_UPGRADE: Final = (("connection", "upgrade"), ("upgrade", "websocket"))
TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {"frames": frames, "messages": messages, "handshake": handshake, "requests": requests}
)
