"""The opening handshake of the worker listener: which path, is it an upgrade, and the exact refusals (wire-protocol 1.1)."""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, parse_qs

import attrs
import h11
from websockets.utils import accept_key

from .stream import BROKEN, ByteStream

MAX_HEAD = 64 * 1024
Query = Mapping[str, Sequence[str]]
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


@attrs.frozen
class Upgrade:
    """An accepted request: where to, with what, and what the peer sent right behind it."""

    path: str
    query: Query
    headers: tuple[tuple[str, str], ...]
    response: bytes
    leftover: bytes
    query_text: str = ""
    """The query as it was sent, not decoded."""


@attrs.frozen
class Refusal:
    """Why there is no upgrade; answered with `status` and a short text."""

    status: int
    text: str = ""
    allow: str | None = None
    is_head: bool = False


async def read_upgrade(stream: ByteStream, is_known_path: "KnownPath") -> Upgrade | Refusal | None:
    """Read one request head. None = the peer left before it was complete.

    The caller's cancel scope is the deadline; at most `MAX_HEAD` bytes are held.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        while (event := parser.next_event()) is h11.NEED_DATA:
            data = await stream.receive(b"")
            if not data:
                return None
            parser.receive_data(bytes(data))
    except h11.RemoteProtocolError as error:
        return Refusal(error.error_status_hint, "the request is not valid HTTP/1.1")
    except BROKEN:
        return None
    assert isinstance(event, h11.Request)  # the first event of a connection
    return _judge(event, parser.trailing_data[0] if parser.trailing_data else b"", is_known_path)


class KnownPath:
    """What the listener serves: exact paths, and all paths that are a prefix and one more segment.

    Those are asked for with a query that is to make sense: `problem_with` says what is wrong with it, None if nothing is.
    """

    def __init__(
        self, *paths: str, prefix: str | None = None, problem_with: Callable[[Query], str | None] = lambda _: None
    ) -> None:
        self._paths = frozenset(paths)
        self._prefix, self._problem_with = prefix, problem_with

    def __contains__(self, path: str) -> bool:
        return path in self._paths or self.segment_of(path) is not None

    def segment_of(self, path: str) -> str | None:
        """What follows the prefix, None if that is not one segment."""
        if self._prefix is None or not path.startswith(self._prefix):
            return None
        segment = path[len(self._prefix) :]
        return segment if segment and "/" not in segment else None

    def problem(self, path: str, query: Query) -> str | None:
        """What is wrong with the query, None if nothing is."""
        return None if path in self._paths else self._problem_with(query)


def _judge(request: h11.Request, leftover: bytes, paths: KnownPath) -> Upgrade | Refusal:
    target = _split(request.target.decode("latin-1"))
    if target.path not in paths:
        return Refusal(HTTPStatus.NOT_FOUND)
    if request.method != b"GET":
        is_head = request.method == b"HEAD"
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, allow=None if is_head else "GET,HEAD", is_head=is_head)
    query = parse_qs(target.query, keep_blank_values=True)
    if (problem := paths.problem(target.path, query)) is not None:
        return Refusal(HTTPStatus.BAD_REQUEST, problem)
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers)
    key, failed = _websocket_key(headers)
    if key is None:
        return Refusal(HTTPStatus.BAD_REQUEST, failed)
    response = (
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-accept: {accept_key(key)}\r\n\r\n"
    )
    return Upgrade(target.path, query, headers, response.encode(), leftover, target.query)


def _split(target: str) -> SplitResult:
    """Path and query of a request target, be it whole with scheme and host. Any text has them: `urlsplit` refuses some,
    and takes what follows `//` for a host.
    """
    if (origin := _ORIGIN.match(target)) is not None:
        target = target[origin.end() :]
    before, _, fragment = target.partition("#")
    path, _, query = before.partition("?")
    return SplitResult("", "", path, query, fragment)


def _websocket_key(headers: tuple[tuple[str, str], ...]) -> tuple[str | None, str]:
    """The client's key, or the first check that fails, in the order connection, upgrade, version, key."""
    fields = dict(headers)
    tokens = {token.strip().lower() for name, value in headers if name == "connection" for token in value.split(",")}
    if "upgrade" not in tokens:
        return None, "the Connection header must contain 'upgrade'"
    if fields.get("upgrade", "").lower() != "websocket":
        return None, "the Upgrade header must be 'websocket'"
    if fields.get("sec-websocket-version") != "13":
        return None, "the Sec-WebSocket-Version header must be '13'"
    key = fields.get("sec-websocket-key")
    return (key, "") if key else (None, "the Sec-WebSocket-Key header is missing")


def refusal_response(refusal: Refusal) -> bytes:
    """The whole HTTP response for a refusal; the connection closes after it."""
    status = HTTPStatus(refusal.status)
    body = refusal.text.encode()
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"content-length: {len(body)}", "connection: close"]
    if body or refusal.is_head:
        lines.append("content-type: text/plain; charset=utf-8")
    if refusal.allow:
        lines.append(f"allow: {refusal.allow}")
    return "\r\n".join([*lines, "", ""]).encode() + body
