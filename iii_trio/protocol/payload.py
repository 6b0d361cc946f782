"""`Payload`: a JSON value that stays encoded while it passes through (style: payloads stay encoded)."""

from typing import Any, Final

import msgspec
import orjson

from .errors import OutputRejected, RemoteProtocolError

Json = Any
"""A decoded JSON value: dict, list, str, int, float, bool or None."""

Buffer = bytes | bytearray | memoryview


class Payload:
    """A JSON value as its text, and decoded at most once and on demand.

    Routing splices the bytes and never decodes them. `value` gives a fresh value to the first reader and the same one
    to later readers: a payload is handed to one consumer, so nothing mutable is shared.
    """

    __slots__ = ("_raw", "_value")

    def __init__(self, raw: msgspec.Raw) -> None:
        self._raw = raw
        self._value: Json = _UNDECODED

    @classmethod
    def of(cls, value: Json) -> "Payload":
        """Encode `value` now, so that later changes to it are not seen. Raises OutputRejected if JSON cannot carry it."""
        return value if isinstance(value, cls) else cls(msgspec.Raw(encode_json(value)))

    @property
    def raw(self) -> msgspec.Raw:
        """The JSON text (UTF-8)."""
        return self._raw

    @property
    def value(self) -> Json:
        """The decoded value. Raises RemoteProtocolError if the bytes hold what JSON values in Python cannot (bad surrogates)."""
        if self._value is _UNDECODED:
            self._value = decode_json(memoryview(self._raw))
        return self._value

    @property
    def is_null(self) -> bool:
        """Whether this is JSON `null`."""
        return is_null(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Payload) and bytes(self.raw) == bytes(other.raw)

    def __hash__(self) -> int:
        return hash(bytes(self.raw))

    def __repr__(self) -> str:
        text = bytes(self.raw)
        return f"Payload({text[:60]!r}{'...' if len(text) > 60 else ''})"


_UNDECODED: Final = object()


def is_null(raw: Buffer | msgspec.Raw) -> bool:
    """Whether the JSON text is `null`."""
    view = memoryview(raw)
    return len(view) == 4 and bytes(view) == b"null"


def encode_json(value: Json) -> bytes:
    """Encode a value. Integers beyond 64 bits are kept exact; `NaN` and infinities become null, as in JavaScript.

    Raises OutputRejected naming the type that JSON cannot carry.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        try:
            return msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as second:
            raise OutputRejected(f"the value cannot be encoded as JSON: {second or error}") from second


def decode_json(data: Buffer) -> Json:
    """Decode one JSON value strictly (UTF-8, no `NaN`, no trailing text); raises RemoteProtocolError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"not JSON: {error}") from error


NULL: Final = Payload(msgspec.Raw(b"null"))
