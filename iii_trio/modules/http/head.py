"""What a request head must look like to be taken (http.md 5, 13): the same for every server behind the seam."""

import re
from typing import Final

import attrs

from .seam import Headers, ServerLimits

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_FIELD: Final = _TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*+\r\n"
_FIELDS: Final = rb"((?:" + _FIELD + rb")*+)\r\n"
_LINE_END: Final = rb" HTTP/1\.([01])\r\n"
# The common head in one expression that never goes back: an origin-form target split into path and query.
_COMMON: Final = re.compile(
    rb"(" + _TOKEN + rb') (/[^\x00-\x20<>`\x7f?#]*+)(?:\?([^\x00-\x20"<>\x7f#]*+))?+' + _LINE_END + _FIELDS
)
_ANY: Final = re.compile(rb"(" + _TOKEN + rb") ([^\x00-\x20\x7f]++)" + _LINE_END + _FIELDS)
_REQUEST_LINE: Final = re.compile(rb"[^ \r\n]* ([^ \r\n]*)")
_BLANK: Final = re.compile(rb"(?:\r\n){0,8}")
_PREFACE: Final = b"PRI * HTTP/2.0\r\n"
_NEVER: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
TRAILERS: Final = re.compile(rb"(?:" + _FIELD + rb"){0,100}+\r\n")
"""The fields behind a chunked body, up to and with the empty line."""

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_IN_PATH: Final = re.compile(rb"[\x00-\x20<>`\x7f]")
_BAD_IN_QUERY: Final = re.compile(rb'[\x00-\x20"<>\x7f]')
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")
_END: Final = re.compile(rb"\n\r?\n")
_LAX: Final = re.compile(rb"(?<!\r)\n|\n[ \t]|\ncontent-length:[^\r]*,", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
_JUDGED: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"host", b"expect"})
CHUNKED: Final = -1
"""The length of a body that says itself where it ends."""


@attrs.define(eq=False)
class Head:
    """A request head that was taken. `end` is where its bytes end, `length` the size of the body or `CHUNKED`."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    version: str
    end: int
    length: int = 0
    keep_alive: bool = True
    expects_continue: bool = False


@attrs.frozen
class Refused:
    """A head that is not taken. `status` 0: without an answer. The connection must close."""

    status: int


def read_head(data: bytes | bytearray, start: int, seen: int, limits: ServerLimits) -> Head | Refused | None:
    """The request head that begins at `start`; None while it may still become one.

    `seen` is how far the data was looked at before, so that a head which comes byte by byte is not read over and over.

    One expression decides what a head is. `httptools` was tried: llhttp refuses what the contract takes (any method
    token, repeated equal lengths, `chunked` twice), skips bodies behind `upgrade`, takes bare line feeds, and with the
    checks this needs on top is slower (ADR 11).
    """
    if data.startswith(b"\r\n", start):
        start = _BLANK.match(data, start).end()  # type: ignore[union-attr]  # it matches nothing, too
    end = data.find(b"\r\n\r\n", max(start, seen - 3)) + 4
    if end < 4:
        return _judge_beginning(data, start, seen, limits)
    if end - start > limits.head_size:
        return Refused(_oversized(data, start, limits))
    if (found := _COMMON.match(data, start, end)) is not None:
        method, path, query, minor, block = found.groups()
        target_size = len(path) + len(query or b"") + (query is not None)
    elif (found := _ANY.match(data, start, end)) is not None:
        method, target, minor, block = found.groups()
        path, query = split_target(target)
        target_size = len(target) if _target_is_legal(target) else -1
    else:
        return _refuse(data, start, end, limits)
    if target_size > limits.target_size:
        return Refused(414)
    if (
        target_size < 0
        or not (path.isascii() or _is_utf8(path))
        or not (query is None or query.isascii() or _is_utf8(query))
    ):
        return Refused(400)
    head = Head(str(method, "ascii"), bytes(path), bytes(query or b""), [], "1.1" if minor == b"1" else "1.0", end)
    return _read_fields(head, bytes(block), limits)


def _read_fields(head: Head, block: bytes, limits: ServerLimits) -> Head | Refused:
    lines = block.split(b"\r\n")
    lines.pop()
    if len(lines) > limits.header_fields:
        return Refused(431)
    add = head.headers.append
    judged = []
    for line in lines:
        name, _, value = line.partition(b":")
        field = name.lower(), value.strip(b" \t")
        add(field)
        if field[0] in _JUDGED:
            judged.append(field)
    return head if _judge_fields(head, judged) else Refused(400)


def _judge_fields(head: Head, judged: list[tuple[bytes, bytes]]) -> bool:
    """Take what decides about body and connection from the fields; False if it can be read in two ways (D-25)."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in judged:
        found.setdefault(name, []).append(value)
    is_old = head.version == "1.0"
    if is_old or b"connection" in found:
        options = {one.strip() for value in found.get(b"connection", ()) for one in value.lower().split(b",")}
        head.keep_alive = b"close" not in options and (not is_old or b"keep-alive" in options)
    if b"expect" in found:
        head.expects_continue = not is_old and found[b"expect"][-1].lower() == b"100-continue"
    return len(found.get(b"host", ())) < 2 and _judge_framing(head, found)


def _judge_framing(head: Head, found: dict[bytes, list[bytes]]) -> bool:
    lengths, codings = found.get(b"content-length"), found.get(b"transfer-encoding")
    if codings is not None:
        head.length = CHUNKED
        return lengths is None and head.version == "1.1" and is_chunked(codings)
    if lengths is not None:
        if _LENGTH.fullmatch(lengths[0]) is None or any(value != lengths[0] for value in lengths):
            return False
        head.length = int(lengths[0])
    return True


def is_chunked(codings: list[bytes]) -> bool:
    """Whether the values of `transfer-encoding` end in `chunked`: nothing else says where a body ends."""
    return codings[-1].rpartition(b",")[2].strip(b" \t").lower() == b"chunked"


def _judge_beginning(data: bytes | bytearray, start: int, seen: int, limits: ServerLimits) -> Refused | None:
    """Refuse at once what no further byte can make a head."""
    if len(data) - start > limits.head_size:
        return Refused(_oversized(data, start, limits))
    hopeless = data.startswith(b" ", start) or _NEVER.search(data, max(start, seen - 1))
    return Refused(400) if hopeless else None


def _oversized(data: bytes | bytearray, start: int, limits: ServerLimits) -> int:
    line_end = data.find(b"\r\n", start)
    return 414 if not 0 <= line_end - start <= limits.target_size + limits.head_size // 2 else 431


def _refuse(data: bytes | bytearray, start: int, end: int, limits: ServerLimits) -> Refused:
    if data.startswith(_PREFACE, start):
        return Refused(0)  # HTTP/2 is not spoken here, and its preface gets no answer (13)
    line = _REQUEST_LINE.match(data, start, end)
    if line is not None and len(line[1]) > limits.target_size:
        return Refused(414)
    return Refused(431 if data.count(b"\r\n", start, end) - 2 > limits.header_fields else 400)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target, undecoded; of an absolute-form target its path, without a `#fragment`."""
    target = target.partition(b"#")[0]
    if (scheme := _SCHEME.match(target)) is not None:
        rest = target[scheme.end() :]
        start = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        target = rest[start:] if rest[start : start + 1] == b"/" else b"/" + rest[start:]
    path, _, query = target.partition(b"?")
    return path, query


def is_strict(raw: bytes) -> bool:
    """Whether the head that `raw` begins with is free of what lenient parsers take: bare line feeds, folded lines, lists of lengths."""
    end = _END.search(raw)
    return _LAX.search(raw, 0, end.start() + 1 if end else len(raw)) is None and (end is None or end[0] == b"\n\r\n")


def refusal(target: bytes, version: bytes, headers: Headers, limits: ServerLimits) -> int | None:
    """The status that refuses a head which another parser has read, None if it is fine. After a refusal the connection must close."""
    if len(target) > limits.target_size:
        return 414
    if len(headers) > limits.header_fields:
        return 431
    if version not in {b"1.0", b"1.1"} or not _target_is_legal(target) or not _framing_is_legal(headers, version):
        return 400
    return 400 if any(_CONTROL.search(value) for _, value in headers) else None


def _target_is_legal(target: bytes) -> bool:
    path, query = split_target(target)
    relative = not target.startswith(b"/") and b"/" in target and _SCHEME.match(target) is None
    return not (relative or _BAD_IN_PATH.search(path) or _BAD_IN_QUERY.search(query))


def _framing_is_legal(headers: Headers, version: bytes) -> bool:
    """Exactly one framing, and none that could be read in two ways (D-25)."""
    lengths = {value for name, value in headers if name == b"content-length"}
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (lengths or version == b"1.0"):
        return False
    return not lengths or (len(lengths) == 1 and _LENGTH.fullmatch(lengths.pop()) is not None)
