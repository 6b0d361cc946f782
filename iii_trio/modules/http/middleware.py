"""Functions that are asked before the handler and may answer in its place (http.md 10)."""

import logging
from typing import Any, Final

import msgspec

from iii_trio.kernel.labels import shown
from iii_trio.protocol import Json, encode_json

from . import response as answers
from .config import PHASE
from .request import decode_query
from .routes import Match
from .seam import Request, Response

_log = logging.getLogger("iii_trio.http")
TIMED_OUT: Final = answers.envelope(504, "MIDDLEWARE_TIMEOUT", "Middleware timeout")
"""The answer while a middleware takes too long."""


def middleware_input(match: Match, request: Request, headers: dict[str, str]) -> msgspec.Raw:
    """What a middleware receives: neither body nor actual path nor channels."""
    described: dict[str, Any] = {
        "phase": PHASE,
        "request": {
            "method": request.method,
            "path_params": match.params,
            "query_params": decode_query(request.query),
            "headers": headers,
        },
        "context": {},
    }
    return msgspec.Raw(encode_json(described))


def middleware_answer(function_id: str, result: Json) -> Response | None:
    """The answer a middleware gives in place of the handler; None if the request goes on."""
    action = result.get("action") if isinstance(result, dict) else None
    if action == "respond":
        assert isinstance(result, dict)  # it has an action
        return _respond(result.get("response"))
    if action != "continue":
        _log.warning(
            "the middleware %s returned no action it could have meant (`continue`, `respond`): the request goes on",
            shown(function_id),
        )
    return None


def _respond(given: Json) -> Response:
    """The body is always JSON; headers with a value that is no string are left out altogether."""
    told = given if isinstance(given, dict) else {}
    headers = told.get("headers")
    if isinstance(headers, dict) and not all(isinstance(value, str) for value in headers.values()):
        _log.warning("the headers of a middleware's answer are left out: one of their values is no string")
        headers = None
    return answers.json_response(
        answers.read_status(told), headers if isinstance(headers, dict) else None, told.get("body")
    )
