"""The two hot messages as pieces around a payload that is passed on as it came (wire-protocol 2.6, 2.7, 5.2, 5.7)."""

import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Raw

from iii_trio.protocol import Buffer, ErrorBody, decode_json, encode_json, encode_text, is_null
from iii_trio.protocol.errors import PayloadTooLarge, RemoteProtocolError
from iii_trio.protocol.messages import ABSENT

if TYPE_CHECKING:
    from .functions import Function
    from .workers import Worker

INVOKE = b'{"type":"invokefunction","invocation_id":"'
ENVELOPE = len(INVOKE) + 36 + 1
"""Bytes of an `invokefunction` beside the function's member and the data, with a canonical id."""

RESULT = b'{"type":"invocationresult","invocation_id":'
RESULT_MEMBER = b',"result":'
_RESULT_ENVELOPE = len(RESULT) + len(RESULT_MEMBER) + 1
_NULL_SIZE = len(b"null")
OBJECT, QUOTE = b'{"'
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
is_canonical = _CANONICAL.fullmatch
"""Whether a text is a UUID in lower case with hyphens."""

_EMPTY = re.compile(rb"\{\s*\}")
CALLER_KEY = b'"_caller_worker_id"'
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_FUNCTION_ENTRY = "iii.function.id"
_BUILT_IN = ("engine::", "state::", "stream::", "configuration::", "iii::", "iii-", "bridge.", "motia::", "steps::")

Pieces = tuple[Sequence[Buffer], int]


def splice_caller(data: Raw, caller: "Worker", *, named: bool) -> tuple[Buffer, bytes]:
    """`data` and what must follow it so that an object names its caller; other values pass unchanged (5.2).

    `named`: the text may hold the key already; then it is decoded and rewritten, else the member is appended last. The
    same where it cannot be decoded (a number beyond a float's range): parsers let the last key win.
    """
    view = memoryview(data)
    if not view or view[0] != OBJECT:
        return view or b"null", b""
    if named:
        with suppress(RemoteProtocolError):
            return encode_json({**decode_json(view), "_caller_worker_id": caller.id}), b""
    if view[1] != QUOTE and _EMPTY.fullmatch(view):
        return b"{", caller.caller_member
    return view[:-1], caller.further_caller_member


def with_caller(data: Raw, caller: "Worker", *, named: bool) -> Raw:
    """The same as one JSON text, for a handler inside the engine."""
    return Raw(b"".join(splice_caller(data, caller, named=named)))


def invoke_pieces(invocation_id: str, function: "Function", body: Buffer, tail: bytes, extra: bytes) -> Pieces:
    """An `invokefunction` for an executor: `tail` completes `body`, `extra` holds further members."""
    member = function.invoke_member
    end = tail + extra + b"}" if extra else tail + b"}"
    size = len(INVOKE) + len(invocation_id) + len(member) + len(body) + len(end)  # ids are ASCII
    return (INVOKE, invocation_id.encode(), member, body, end), size


def extra_members(function_id: str | None, metadata: Raw, traceparent: str | None, baggage: str | None) -> bytes:
    """`metadata` and the trace context towards an executor; empty and invalid trace values are left out.

    `function_id`: whom a worker calls. None if it is the engine that calls: then the baggage goes on as it came (http 15.1).
    """
    members = []
    if memoryview(metadata) and not is_null(metadata):
        members.append(b',"metadata":' + bytes(metadata))
    if traceparent is not None or baggage is not None:
        if traceparent and _TRACEPARENT.fullmatch(traceparent):
            members.append(b',"traceparent":' + encode_text(traceparent))
        if onward := baggage if function_id is None else onward_baggage(function_id, baggage):
            members.append(b',"baggage":' + encode_text(onward))
    return b"".join(members)


def onward_baggage(function_id: str, baggage: str | None) -> str:
    """The caller's baggage, without properties, after the name of the called function unless that is built in (5.7)."""
    entries = [entry.partition(";")[0].strip() for entry in (baggage or "").split(",")]
    kept = [entry for entry in entries if "=" in entry and not entry.startswith("=")]
    if not (function_id.startswith(_BUILT_IN) or function_id == "publish"):
        kept = [entry for entry in kept if entry.partition("=")[0].strip() != _FUNCTION_ENTRY]
        kept.insert(0, f"{_FUNCTION_ENTRY}={_percent_encode(function_id)}")
    return ",".join(kept)


def _percent_encode(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="!#$&'()*+-./:<=>?@[]^_`{|}~")


def result_pieces(
    reply_id: str,
    member: bytes,
    result: Raw,
    error: ErrorBody | None,
    traceparent: str | None,
    baggage: str | None,
    limit: int | None,
) -> Pieces:
    """An `invocationresult` for a caller, `member` names the function. A null result is left out; trace values go back as they came.

    Beyond `limit` bytes (what the caller's SDK can read) the result becomes the error `payload_too_large`.
    """
    view = memoryview(result)
    if error is None and traceparent is None and baggage is None and limit is None and len(view) > _NULL_SIZE:
        name = encode_text(reply_id)  # the common result, in as few steps as can be
        size = _RESULT_ENVELOPE + len(name) + len(member) + len(view)
        return (RESULT, name, member, RESULT_MEMBER, view, b"}"), size
    head = encode_text(reply_id) + member
    body: Buffer = b""
    if error is not None:
        head += b',"error":' + encode_text(error)
    elif view and not is_null(view):
        head += RESULT_MEMBER
        body = view
    tail = b"}"
    if traceparent is not None:
        tail = b',"traceparent":' + encode_text(traceparent) + tail
    if baggage is not None:
        tail = b',"baggage":' + encode_text(baggage) + tail
    size = len(RESULT) + len(head) + len(body) + len(tail)
    if limit is not None and size > limit:
        return result_pieces(reply_id, member, ABSENT, too_large(size, limit), traceparent, baggage, None)
    return (RESULT, head, body, tail), size


def too_large(size: int, limit: int) -> ErrorBody:
    """The error for a message that the receiving SDK cannot read (1.2)."""
    return ErrorBody(PayloadTooLarge.code, f"the message has {size} bytes, the receiving SDK reads at most {limit}")


def canonical_id(text: str) -> str | None:
    """The canonical form of a UUID given in upper case, without hyphens or in braces; None for other text."""
    if is_canonical(text):
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
