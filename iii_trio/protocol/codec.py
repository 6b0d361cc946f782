"""Bytes to messages and back (wire-protocol 2). Decoding is strict but for what official SDKs can send (2.2, C3)."""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ._error_body import ErrorBody
from .errors import Codes, InputRejected, RemoteProtocolError
from .messages import ABSENT, Announcement, AnyMessage, InvocationResult, InvokeFunction, Message
from .payload import decode_json

_FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode: Final[Callable[[bytes | memoryview], AnyMessage]] = msgspec.json.Decoder(AnyMessage).decode
_decode_announcement: Final = msgspec.json.Decoder(Announcement).decode
encode_text: Final[Callable[[object], bytes]] = msgspec.json.Encoder().encode
"""Encode a string (an id, say) as JSON text."""


class BadAction(Struct, frozen=True):
    """An `invokefunction` whose `action` is none of the known ones: answered `invalid_action` when it carries an id."""

    function_id: str
    invocation_id: str | None = None


class _LooseInvoke(Struct, frozen=True, tag_field="type", tag="invokefunction"):
    function_id: str
    invocation_id: str | None = None
    action: Raw = ABSENT
    traceparent: str | None = None
    baggage: str | None = None
    namespace: str | None = None


class _LooseResult(Struct, frozen=True, tag_field="type", tag="invocationresult"):
    invocation_id: str
    function_id: str
    result: Raw = ABSENT
    error: Raw = ABSENT
    traceparent: str | None = None
    baggage: str | None = None


_CODE_TYPES = {str, int, float}
_decode_loose: Final = msgspec.json.Decoder(_LooseInvoke | _LooseResult).decode


def decode(data: bytes | memoryview) -> AnyMessage | BadAction:
    """Decode one message. The caller has checked that `data` is UTF-8: raw fields are not looked into.

    Raises RemoteProtocolError naming the reason: not JSON, not an object, unknown type, missing or wrong field,
    nesting beyond the parser's depth. Such a message is dropped (2.2).
    """
    try:
        return _decode(data)
    except msgspec.ValidationError as error:
        return _decode_leniently(data, error)
    except _FAILURES as error:
        raise RemoteProtocolError(f"not a message: {error}") from error


def _decode_leniently(data: bytes | memoryview, reason: msgspec.ValidationError) -> InvocationResult | BadAction:
    """The two malformed messages that still get through: a bad `action`, and an `error` that is not `{code, message}`."""
    try:
        loose = _decode_loose(data)
    except _FAILURES:
        raise RemoteProtocolError(f"not a message: {reason}") from reason
    if isinstance(loose, _LooseInvoke):
        return BadAction(loose.function_id, loose.invocation_id)
    return InvocationResult(loose.invocation_id, loose.function_id, result=loose.result, error=_error_of(loose.error))


def _error_of(raw: Raw) -> ErrorBody:
    value = decode_json(memoryview(raw))
    if isinstance(value, dict) and type(value.get("code")) in _CODE_TYPES and isinstance(value.get("message"), str):
        trace = value.get("stacktrace")
        return ErrorBody(str(value["code"]), value["message"], trace if isinstance(trace, str) else None)
    text = value if isinstance(value, str) else bytes(raw).decode()
    return ErrorBody(Codes.UNKNOWN, text)


def encode(message: Message) -> bytes:
    """Encode one message; optional fields without a value are left out."""
    return encode_text(message)


def decode_announcement(data: bytes | memoryview | Raw) -> Announcement:
    """Decode the input of `engine::workers::register`; raises InputRejected."""
    try:
        return _decode_announcement(memoryview(data))
    except _FAILURES as error:
        raise InputRejected(f"Failed to deserialize input for engine::workers::register: {error}") from error


__all__ = ["BadAction", "InvokeFunction", "decode", "decode_announcement", "encode", "encode_text"]
