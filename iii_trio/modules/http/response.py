"""From what a function returned, or how it failed, to the answer on the wire (http.md 7)."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from iii_trio.protocol import Json, encode_json
from iii_trio.protocol.errors import InvocationError, ModuleUnavailable, Overloaded, ShuttingDown

from .config import TOKEN
from .seam import Headers, Response, nothing_to_release

_log = logging.getLogger("iii_trio.http")

_JSON_TYPE: Final = (b"content-type", b"application/json")
_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_REFUSED: Final = frozenset({Overloaded.code, ModuleUnavailable.code, ShuttingDown.code})
_MISSING: Final = object()
GATEWAY_TIMEOUT: Final = Response(504)
JSON_ANSWER: Final = Response(200, (_JSON_TYPE,))
"""What every answer with a JSON body and no headers of its own has in common."""


def plain_response(result: Json, default_status: int = 200) -> Response:
    """The answer for a result that is not null (7.1, 7.2). Raises OutputRejected if the body cannot be written."""
    value = result if isinstance(result, dict) else {}
    status = read_status(value, default_status)
    if status < 200:
        return Response(500, close=True)
    fields = read_headers(value.get("headers"))
    body, typed = value.get("body", {}), any(name == "content-type" for name, _ in fields)
    headers = _clean(fields) if typed else (*_clean(fields), _JSON_TYPE)
    return Response(status, headers, _encode_typed(body) if typed else encode_json(body), close=_closes(fields))


def json_response(status: int, headers: Json, body: Json) -> Response:
    """An answer whose body is JSON whatever type its headers give it (10). Raises OutputRejected."""
    if status < 200:
        return Response(500, close=True)
    fields = read_headers(headers)
    cleaned = _clean(fields)
    typed = any(name == b"content-type" for name, _ in cleaned)
    return Response(status, cleaned if typed else (*cleaned, _JSON_TYPE), encode_json(body), close=_closes(fields))


def streamed_response(
    status: int,
    fields: list[tuple[str, str]],
    first: bytes = b"",
    stream: Callable[[], Awaitable[bytes]] | None = None,
    release: Callable[[], object] = nothing_to_release,
) -> Response:
    """The answer that a function writes itself (9.2), `first` what it has written so far; without `stream` its body is empty.

    A `content-length` that is a number is the function's to give, here alone; no other framing is.
    """
    if status < 200:
        return Response(500, close=True)
    if stream is None:
        return Response(status, _clean(fields), close=_closes(fields))
    lengths = [(b"content-length", v.encode()) for name, v in fields if name == "content-length" and v.isascii()]
    headers = (*_clean(fields), *lengths)
    return Response(status, headers, first, close=_closes(fields), stream=stream, release=release)


def is_answer(result: Json) -> bool:
    """Whether a result says what to answer; any other is answered `{}`, which surprises (7.1)."""
    return isinstance(result, dict) and any(key in result for key in ("body", "status_code", "statusCode"))


def read_status(value: dict[str, Json], default: int = 200) -> int:
    """`status_code`, or `statusCode` without it (D-13); `default` for what is no status from 100 to 999."""
    status = value.get("status_code", _MISSING)
    if status is _MISSING:
        status = value.get("statusCode")
    return status if type(status) is int and 100 <= status <= 999 else default


def read_headers(headers: Json) -> list[tuple[str, str]]:
    """Names in lower case and values of a result's `headers`, object or array; what is neither is ignored."""
    if isinstance(headers, dict):
        return [(name.lower(), value) for name, value in headers.items() if isinstance(value, str)]
    if not isinstance(headers, list):
        return []
    lines = (line.partition(":") for line in headers if isinstance(line, str))
    fields = [(name.strip().lower(), value.strip()) for name, colon, value in lines if colon and name.strip()]
    types = [at for at, (name, _) in enumerate(fields) if name == "content-type"]
    return [field for at, field in enumerate(fields) if at not in types[1:]]


def _clean(fields: list[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    """What may go on the wire: no broken names, no controls, no framing of the handler's own (7.1, D-14)."""
    headers = []
    for name, value in fields:
        if name in _FRAMING:
            continue
        if not TOKEN.fullmatch(name) or _CONTROL.search(value) or not _encodable(value):
            _log.warning("skipped a response header with an invalid name or value: %.60r", name)
            continue
        headers.append((name.encode(), value.strip(" \t").encode()))
    return tuple(headers)


def _closes(fields: list[tuple[str, str]]) -> bool:
    """Whether a function asks that the connection end with its answer."""
    return any(name == "connection" and "close" in value.lower() for name, value in fields)


def _encodable(value: str) -> bool:
    return value.isascii() or not re.search("[\ud800-\udfff]", value)


def _encode_typed(body: Json) -> bytes:
    """The body under a `content-type` of the function's own: a text goes out bare, null as nothing."""
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else encode_json(body)


def envelope(
    status: int, code: str, message: str, *, error_id: str | None = None, headers: Headers = (), **more: Json
) -> Response:
    """An answer of the engine's own (7.3)."""
    error = {"code": code, "message": message, **({"error_id": error_id} if error_id else {})}
    return Response(status, (*headers, _JSON_TYPE), encode_json({"error": error, **more}))


def error_response(error: InvocationError, error_id: str) -> Response:
    """The answer for a call that failed: 503 if the engine refused it for now, else 500 with an id that the log has, too."""
    if error.code in _REFUSED:
        return envelope(503, error.code, error.message)
    return envelope(500, error.code, error.message, error_id=error_id)


def crash_response(error_id: str) -> Response:
    """The answer when the engine itself failed; the log says how."""
    return envelope(500, "INTERNAL_ERROR", "internal server error", error_id=error_id)


def not_found(allowed: list[str], method: str) -> Response:
    """404, or 405 when the path has other methods (5.1). A HEAD request is never told about a GET route (D-10)."""
    if not allowed or (method == "HEAD" and "GET" in allowed):
        return envelope(404, "NOT_FOUND", "Not Found")
    allow = (b"allow", ", ".join(allowed).encode())
    return envelope(405, "METHOD_NOT_ALLOWED", "Method Not Allowed", headers=[allow])


def too_large(limit: int) -> Response:
    """413. The connection closes: nobody waits for the rest of the body."""
    message = f"the request body has more than {limit} bytes"
    answer = envelope(413, "PAYLOAD_TOO_LARGE", message)
    return Response(answer.status, answer.headers, answer.body, close=True)


def condition_not_met() -> Response:
    """422 (11)."""
    return envelope(422, "CONDITION_NOT_MET", "Request condition not met", skipped=True)


def shutting_down() -> Response:
    """503 while the engine stops; the client should come back on another connection."""
    answer = envelope(503, ShuttingDown.code, "the engine is stopping")
    return Response(answer.status, answer.headers, answer.body, close=True)
