"""Every message of the protocol survives encoding and decoding (wire-protocol 2)."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_strategies import JSON_TEXTS, MESSAGES, STRINGS, messages

from iii_trio.protocol import ErrorBody, decode, encode
from iii_trio.protocol.messages import Announcement, Enqueue, Telemetry, Void

NAMES = {
    "workerregistered",
    "registerfunction",
    "unregisterfunction",
    "registertriggertype",
    "unregistertriggertype",
    "registertrigger",
    "unregistertrigger",
    "triggerregistrationresult",
    "invokefunction",
    "invocationresult",
    "registerservice",
    "ping",
    "pong",
    "reattach",
    "registrationrejected",
    "registerworker",
}
EVERY_MESSAGE = pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)


def test_the_types_are_those_of_the_specification() -> None:
    assert {cls.__struct_config__.tag for cls in MESSAGES} == NAMES


@EVERY_MESSAGE
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_was_encoded_is_decoded(cls: type[msgspec.Struct], data: st.DataObject) -> None:
    message = data.draw(messages(cls))
    assert decode(encode(message)) == message


@EVERY_MESSAGE
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_unknown_members_are_ignored(cls: type[msgspec.Struct], data: st.DataObject) -> None:
    """Wherever they stand, whatever they hold (2.1)."""
    message = data.draw(messages(cls))
    known = {"type", *cls.__struct_fields__}
    name = data.draw(STRINGS.filter(lambda text: json.loads(text) not in known))
    text = encode(message)
    member = name.encode() + b":" + data.draw(JSON_TEXTS)
    assert decode(b"{" + member + b"," + text[1:]) == message
    assert decode(text[:-1] + b"," + member + b"}") == message


@EVERY_MESSAGE
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_members_come_in_any_order(cls: type[msgspec.Struct], data: st.DataObject) -> None:
    message = data.draw(messages(cls))
    members = data.draw(
        st.permutations(list(msgspec.json.decode(encode(message), type=dict[str, msgspec.Raw]).items()))
    )
    text = b", ".join(json.dumps(key).encode() + b" : " + bytes(value) for key, value in members)
    assert decode(b" {\n" + text + b"}\t") == message


def optional_fields() -> list[Any]:
    """Every optional field with a type of its own: raw ones keep a null, because a result of null is a value."""
    return [
        pytest.param(cls, field, id=f"{cls.__name__}.{field.name}")
        for cls in MESSAGES
        for field in msgspec.structs.fields(cls)
        if not field.required and field.type is not msgspec.Raw and field.name != "features"
    ]


@pytest.mark.parametrize(("cls", "field"), optional_fields())
def test_null_means_absent(cls: type[msgspec.Struct], field: Any) -> None:
    """0, and 2.2: `null` for an optional field."""
    needed = {entry.name: "x" for entry in msgspec.structs.fields(cls) if entry.required}
    absent = decode(json.dumps({"type": cls.__struct_config__.tag, **needed}).encode())
    null = decode(json.dumps({"type": cls.__struct_config__.tag, **needed, field.name: None}).encode())
    assert null == absent


@pytest.mark.parametrize("cls", [Announcement, Telemetry, Void, Enqueue, ErrorBody], ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_parts_of_messages_survive_too(cls: type[msgspec.Struct], data: st.DataObject) -> None:
    part = data.draw(messages(cls))
    assert msgspec.json.decode(msgspec.json.encode(part), type=cls) == part
