"""The request of one call (wire-protocol 6.2)."""

import re
from typing import Final

from iii_trio.protocol.errors import HttpRequestFailed

from .invocation import Target, basic

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNFIT: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_REPLACED: Final = frozenset({"content-type", "accept", "host"})
"""Headers that a configured one takes the place of."""

RawHeaders = list[tuple[bytes, bytes]]


def request_headers(target: Target, invocation_id: str, timestamp: str, body: bytes) -> RawHeaders:
    """The headers of one call in their order: ours, the configured ones, authentication.

    Raises HttpRequestFailed for a name or value that HTTP cannot carry.
    """
    configured = {name.lower() for name, _ in target.headers}
    own = {
        "host": target.url.authority,
        "accept": "*/*",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-iii-function-path": target.function_id,
        "x-iii-invocation-id": invocation_id,
        "x-iii-timestamp": timestamp,
    }
    headers = [(name, value) for name, value in own.items() if name not in _REPLACED & configured]
    added = [*target.headers, *_authentication(target, configured, timestamp, body)]
    return [_raw(name, value) for name, value in headers] + [_given(name, value) for name, value in added]


def _authentication(target: Target, configured: set[str], timestamp: str, body: bytes) -> list[tuple[str, str]]:
    """That of the registration; without it, the user and password of the URL."""
    if target.authentication is not None:
        return [target.authentication.header(timestamp, body)]
    if target.url.credentials is not None and "authorization" not in configured:
        return [basic(target.url.credentials).header(timestamp, body)]
    return []


def _given(name: str, value: str) -> tuple[bytes, bytes]:
    if name.lower() in _FRAMING:
        raise HttpRequestFailed(f"the header {name} is the engine's to set; remove it from the registration")
    return _raw(name, value)


def _raw(name: str, value: str) -> tuple[bytes, bytes]:
    if not _NAME.fullmatch(name):
        raise HttpRequestFailed(f"{name!r} is no name of a header")
    if _UNFIT.search(value):
        raise HttpRequestFailed(f"the value of the header {name} has control characters")
    return name.encode(), value.strip(" \t").encode()
