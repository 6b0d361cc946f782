"""Every message of the worker protocol as a type (wire-protocol 2). Raw fields hold JSON text that is not decoded."""

from typing import Annotated, Final

import msgspec
from msgspec import Raw, Struct

from ._error_body import ErrorBody

ABSENT: Final = Raw(b"")
"""The value of a raw field that is not in the message."""


class Message(Struct, frozen=True, tag_field="type", tag=str.lower, omit_defaults=True, gc=False):
    """Base of all wire messages: a JSON object whose `type` is the class name in lower case."""


class Void(Struct, frozen=True, tag_field="type", tag="void", gc=False):
    """Action: run the function and answer nobody."""


class Enqueue(Struct, frozen=True, tag_field="type", tag="enqueue", gc=False):
    """Action: hand the call to a named queue."""

    queue: str


class InvokeFunction(Message, frozen=True, omit_defaults=True, gc=False):
    """A call, from its caller to the engine and from the engine to the executor (2.6)."""

    function_id: str
    invocation_id: str | None = None
    data: Raw = ABSENT
    action: Void | Enqueue | None = None
    traceparent: str | None = None
    baggage: str | None = None
    metadata: Raw = ABSENT
    namespace: str | None = None


class InvocationResult(Message, frozen=True, omit_defaults=True, gc=False):
    """The end of a call: a result, an error, or neither for success without value (2.7)."""

    invocation_id: str
    function_id: str
    result: Raw = ABSENT
    error: ErrorBody | None = None
    traceparent: str | None = None
    baggage: str | None = None


class RegisterFunction(Message, frozen=True, omit_defaults=True, gc=False):
    """A worker offers a function (2.4)."""

    id: str
    description: str | None = None
    request_format: Raw = ABSENT
    response_format: Raw = ABSENT
    metadata: Raw = ABSENT
    invocation: Raw = ABSENT


class UnregisterFunction(Message, frozen=True, omit_defaults=True, gc=False):
    """A worker withdraws a function (2.5)."""

    id: str


class RegisterTriggerType(Message, frozen=True, omit_defaults=True, gc=False):
    """A worker becomes the provider of a trigger type (2.8)."""

    id: str
    description: str | None = None
    trigger_request_format: Raw = ABSENT
    call_request_format: Raw = ABSENT
    namespace: str | None = None


class UnregisterTriggerType(Message, frozen=True, omit_defaults=True, gc=False):
    """A provider withdraws its trigger type (2.8)."""

    id: str
    namespace: str | None = None


class RegisterTrigger(Message, frozen=True, omit_defaults=True, gc=False):
    """A trigger: from the registrant to the engine and from the engine to a provider (2.9)."""

    id: str
    trigger_type: str
    function_id: str
    config: Raw = ABSENT
    metadata: Raw = ABSENT
    namespace: str | None = None
    trigger_namespace: str | None = None


class UnregisterTrigger(Message, frozen=True, omit_defaults=True, gc=False):
    """The end of a trigger (2.10). The engine adds what was registered, for SDK handlers that show it (7.4, C5)."""

    id: str
    trigger_type: str | None = None
    function_id: str | None = None
    config: Raw = ABSENT
    metadata: Raw = ABSENT


class TriggerRegistrationResult(Message, frozen=True, omit_defaults=True, gc=False):
    """A provider's answer to a trigger, and the engine's word of a failed one to the registrant (2.11)."""

    id: str
    trigger_type: str
    function_id: str
    error: ErrorBody | None = None


class RegisterService(Message, frozen=True, omit_defaults=True, gc=False):
    """Bookkeeping of SDKs up to 0.12 (2.12)."""

    id: str
    name: str | None = None
    description: str | None = None
    parent_service_id: str | None = None


class Ping(Message, frozen=True, gc=False):
    """Answered with `Pong` (2.13)."""


class Pong(Message, frozen=True, gc=False):
    """The answer to `Ping`."""


class Reattach(Message, frozen=True, omit_defaults=True, gc=False):
    """First message of a reconnect: retires the previous connection of the same worker (2.14)."""

    previous_worker_id: str
    reattach_token: str | None = None


class WorkerRegistered(Message, frozen=True, omit_defaults=True, gc=False):
    """First message on every worker connection (2.3). The token is a secret: never listed, never logged."""

    worker_id: str
    reattach_token: str | None = None
    features: tuple[str, ...] = ()


class AuthenticationFailed(Message, frozen=True, tag="error", gc=False):
    """The only message to a peer that was not let in (11.4)."""

    error: ErrorBody


class RegistrationRejected(Message, frozen=True, omit_defaults=True, gc=False):
    """The engine refuses a name or a function (2.15). Modern SDKs treat unknown codes as fatal: there are two."""

    code: str
    namespace: str
    owner_worker_id: str
    worker_name: str | None = None
    function_id: str | None = None


class Telemetry(Struct, frozen=True, omit_defaults=True, gc=False):
    """What an SDK says about its project (3.3)."""

    language: str | None = None
    project_name: str | None = None
    framework: str | None = None


class Announcement(Struct, frozen=True, omit_defaults=True, gc=False):
    """Input of `engine::workers::register`: who the connection is (3.3)."""

    runtime: str | None = None
    version: str | None = None
    name: str | None = None
    description: str | None = None
    os: str | None = None
    pid: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    isolation: str | None = None
    telemetry: Telemetry | None = None
    namespace: str | None = None
    features: tuple[str, ...] | None = None


class RegisterWorker(Announcement, frozen=True, tag_field="type", tag="registerworker", omit_defaults=True, gc=False):
    """The announcement as a message of its own; documented for 0.11, sent by no SDK (2.2)."""


AnyMessage = (
    InvokeFunction
    | InvocationResult
    | RegisterFunction
    | UnregisterFunction
    | RegisterTriggerType
    | UnregisterTriggerType
    | RegisterTrigger
    | UnregisterTrigger
    | TriggerRegistrationResult
    | RegisterService
    | Ping
    | Pong
    | Reattach
    | WorkerRegistered
    | RegistrationRejected
    | RegisterWorker
)
