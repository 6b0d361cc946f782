"""The worker protocol as types: messages, payloads, codec, errors. No I/O; usable without an engine."""

from ._error_body import ErrorBody
from .codec import BadAction, decode, decode_announcement, encode, encode_text
from .payload import NULL, Buffer, Json, Payload, decode_json, encode_json, is_null

__all__ = [
    "NULL",
    "BadAction",
    "Buffer",
    "ErrorBody",
    "Json",
    "Payload",
    "decode",
    "decode_announcement",
    "decode_json",
    "encode",
    "encode_json",
    "encode_text",
    "is_null",
]
