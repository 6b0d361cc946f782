"""What an answer means for the caller of the function (wire-protocol 6.2, table of responses)."""

from http import HTTPStatus
from typing import Final

from msgspec import Raw

from iii_trio.protocol import Json, Payload, decode_json
from iii_trio.protocol.errors import HttpStatusError, InvalidResponse, InvocationError, RemoteProtocolError
from iii_trio.protocol.messages import ABSENT

NOTHING: Final = Payload(ABSENT)
"""Success without a value."""

_NULL: Final = Payload(Raw(b" null"))
"""A null that was said: a bare `null` counts as no value on its way to the caller (2.7), one with a space before it is kept."""


def outcome(status: int, body: bytes) -> Payload:
    """The result of a call. Raises InvocationError for what the table calls an error."""
    if status >= HTTPStatus.BAD_REQUEST:
        raise _error(status, body)
    if status >= HTTPStatus.MULTIPLE_CHOICES or status < HTTPStatus.OK:
        return _payload(body) or NOTHING
    if not body:
        return NOTHING
    payload = _payload(body)
    if payload is None:
        raise InvalidResponse(f"the endpoint answered {status} with a body that is not JSON")
    return payload


def _payload(body: bytes) -> Payload | None:
    try:
        value = decode_json(body)
    except RemoteProtocolError:
        return None
    return _NULL if value is None else Payload(Raw(body.strip(b" \t\r\n")))


def _error(status: int, body: bytes) -> InvocationError:
    try:
        said = decode_json(body)
    except RemoteProtocolError:
        said = None
    if isinstance(said, dict) and "error" in said:
        return _own_error(said["error"])
    return HttpStatusError(f"HTTP {status} {_reason(status)}".rstrip())


def _own_error(error: Json) -> InvocationError:
    """The endpoint's error; its stack trace stays there."""
    members = error if isinstance(error, dict) else {}
    code, message = members.get("code"), members.get("message")
    return InvocationError(
        message if isinstance(message, str) else "HTTP request failed",
        code=code if isinstance(code, str) else HttpStatusError.code,
    )


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
