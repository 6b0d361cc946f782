"""`engine::baggage::{get,set,get_all}`: a call's own baggage, for diagnosis (observability 6.6)."""

from collections.abc import Sequence
from typing import Annotated, Final
from urllib.parse import unquote

from msgspec import Meta, Struct

from iii_trio.kernel import Call
from iii_trio.modules.built_in import BuiltIn
from iii_trio.protocol import Json

_NOTE: Final = "The caller's context cannot be changed from here: send `baggage` with the next call instead."
_TEXT: Final[Json] = {"type": "string"}
_VALUE: Final[Json] = {
    "type": "object",
    "properties": {"value": {"anyOf": [_TEXT, {"type": "null"}]}},
    "required": ["value"],
}
_NOTED: Final[Json] = {
    "type": "object",
    "properties": {"success": {"type": "boolean"}, "note": _TEXT},
    "required": ["success", "note"],
}
_ALL: Final[Json] = {
    "type": "object",
    "properties": {"baggage": {"type": "object", "additionalProperties": _TEXT}},
    "required": ["baggage"],
}


class Key(Struct, frozen=True):
    """Which entry to read."""

    key: Annotated[str, Meta(description="The name of a baggage entry.")]


class Entry(Struct, frozen=True):
    """An entry that somebody wants to set."""

    key: Annotated[str, Meta(description="The name of a baggage entry.")]
    value: Annotated[str, Meta(description="Its value, not percent-encoded.")]


class Nothing(Struct, frozen=True):
    """An object without members of interest."""


def baggage_functions() -> Sequence[BuiltIn]:
    """The three functions. What they read is the `baggage` of the invocation that calls them."""
    return (
        BuiltIn.of("engine::baggage::get", "Reads an entry of the call's own baggage.", Key, _VALUE, _get),
        BuiltIn.of(
            "engine::baggage::set", "Says that a caller's baggage cannot be set from here.", Entry, _NOTED, _set
        ),
        BuiltIn.of("engine::baggage::get_all", "Reads the call's own baggage.", Nothing, _ALL, _get_all),
    )


def _get(call: Call, asked: Key) -> Json:
    return {"value": read_baggage(call.baggage).get(asked.key)}


def _set(_: Call, __: Entry) -> Json:
    return {"success": True, "note": _NOTE}


def _get_all(call: Call, _: Nothing) -> Json:
    return {"baggage": read_baggage(call.baggage)}


def read_baggage(text: str | None) -> dict[str, str]:
    """The entries of a W3C `baggage` value, percent-decoded and without properties; what is no entry is left out."""
    entries = {}
    for member in (text or "").split(","):
        name, equals, value = member.partition(";")[0].partition("=")
        if equals and name.strip():
            entries[name.strip()] = unquote(value.strip())
    return entries
