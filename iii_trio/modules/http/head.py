"""What a request head must look like to be taken (http.md 5, 13): the same for every server behind the seam."""

import re
from typing import Final

from .seam import Headers, ServerLimits

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_IN_PATH: Final = re.compile(rb"[\x00-\x20<>`\x7f]")
_BAD_IN_QUERY: Final = re.compile(rb'[\x00-\x20"<>\x7f]')
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")
_END: Final = re.compile(rb"\n\r?\n")
_LAX: Final = re.compile(rb"(?<!\r)\n|\n[ \t]|\ncontent-length:[^\r]*,", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"[0-9]{1,19}")


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
    """The status that refuses this head, None if it is fine. After a refusal the connection must close."""
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
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    if chunked and (lengths or version == b"1.0"):
        return False
    return not lengths or (len(lengths) == 1 and _LENGTH.fullmatch(lengths.pop()) is not None)
