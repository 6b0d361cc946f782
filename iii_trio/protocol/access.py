"""What auth functions and registration hooks are asked and may answer (wire-protocol 11.4, 11.7), as strict types."""

from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from .codec import encode_text
from .errors import RemoteProtocolError
from .messages import ABSENT, Enqueue, Void
from .payload import Payload, decode_json, is_null

_FAILURES: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_Text = TypeVar("_Text", str, str | None)
_Answer = TypeVar("_Answer", bound=Struct)
_EMPTY: Final = Raw(b"{}")
_Absent = field(default_factory=lambda: ABSENT)


class AuthRequest(Struct, frozen=True):
    """How a peer asked to be let in."""

    headers: dict[str, str]
    query_params: dict[str, list[str]]
    ip_address: str


class AuthResult(Struct, frozen=True):
    """Who the peer is and what it may do. A member of a wrong type refuses the peer."""

    namespaces: dict[str, tuple[str, ...]] = {}
    allowed_functions: tuple[str, ...] = ()
    forbidden_functions: tuple[str, ...] = ()
    allowed_trigger_types: tuple[str, ...] | None = None
    allow_trigger_type_registration: bool = False
    allow_function_registration: bool = True
    context: Raw = _EMPTY
    function_registration_prefix: str | None = None


class FunctionQuestion(Struct, frozen=True):
    """A function that a worker wants to register."""

    function_id: str
    description: str | None
    metadata: Raw
    context: Raw
    namespace: str


class TriggerTypeQuestion(Struct, frozen=True):
    """A trigger type that a worker wants to provide."""

    trigger_type_id: str
    description: str | None
    context: Raw


class TriggerQuestion(Struct, frozen=True):
    """A trigger that a worker wants to register."""

    trigger_id: str
    trigger_type: str
    function_id: str
    config: Raw
    metadata: Raw
    context: Raw
    namespace: str


class HookResult(Struct, frozen=True):
    """What a hook makes of a registration; whatever it leaves out, or answers as null, stays as it was."""

    function_id: Raw = _Absent
    trigger_type_id: Raw = _Absent
    trigger_id: Raw = _Absent
    trigger_type: Raw = _Absent
    description: Raw = _Absent
    metadata: Raw = _Absent
    config: Raw = _Absent


class MiddlewareRequest(Struct, frozen=True):
    """A call on its way through a middleware (11.6)."""

    function_id: str
    payload: Raw
    action: Void | Enqueue | None
    context: Raw
    namespace: str


def struct_payload(value: Struct) -> Payload:
    """A question as the payload of a call."""
    return Payload(Raw(encode_text(value)))


def decode_answer(answer: Payload, kind: type[_Answer]) -> _Answer:
    """The answer as `kind`; raises RemoteProtocolError if it is no object or has a member of a wrong type."""
    try:
        return msgspec.json.decode(memoryview(answer.raw), type=kind)
    except _FAILURES as error:
        raise RemoteProtocolError(str(error)) from error


def text_or(raw: Raw, original: _Text) -> _Text | str:
    """The text in a member of a hook's result; any other value keeps the original."""
    value = decode_json(memoryview(raw)) if memoryview(raw) else None
    return value if isinstance(value, str) else original


def json_or(raw: Raw, original: Raw) -> Raw:
    """The value of a member of a hook's result; an absent or null one keeps the original."""
    return Raw(bytes(raw)) if memoryview(raw) and not is_null(raw) else original


def json_or_null(raw: Raw) -> Raw:
    """The value of a member that may be absent, for a message that always has it."""
    return raw if memoryview(raw) else Raw(b"null")
