"""Every error of iii-trio and the one function that turns an exception into the wire's error body (wire-protocol 17)."""

from collections.abc import Sequence
from typing import ClassVar

from ._error_body import ErrorBody


class IIIError(Exception):
    """Base of all errors of iii-trio: a message for a person, attributes for a program."""


class ConfigError(IIIError):
    """The configuration cannot be used. `problems` holds every one found, each naming what, where and what to do."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ProtocolError(IIIError):
    """A message or frame breaks the wire protocol."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol."""


class LocalProtocolError(ProtocolError):
    """This side was asked to send what the protocol does not allow."""


class AdapterError(IIIError):
    """A module's backend failed."""


class AdapterUnavailable(AdapterError):
    """The backend is away; the operation may be tried again."""


class AdapterDataError(AdapterError):
    """The backend holds data that cannot be read; trying again does not help."""


class EngineCrashed(IIIError):
    """The engine gave up: a part failed more often than its limits allow. Raised from that cause."""


class TriggerRejected(IIIError):
    """The provider of a trigger type refuses a trigger; the text goes to the registrant."""


class InvocationError(IIIError):
    """An invocation failed. `code` and `message` are what the caller sees on the wire.

    Subclasses fix the code; this class itself carries codes of workers, relayed verbatim.
    """

    code: str = "invocation_error"

    def __init__(self, message: str, *, code: str | None = None, stacktrace: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.stacktrace = stacktrace
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class FunctionNotFound(InvocationError):
    """No such function in the namespace asked for (wire-protocol 5.1)."""

    code = "function_not_found"


class FunctionFailed(InvocationError):
    """A handler raised; the message is the text of its exception."""

    code = "invocation_failed"


class WorkerDisconnected(InvocationError):
    """The worker that ran the function, or the caller, has gone (wire-protocol 3.6)."""

    code = "invocation_stopped"


class ChannelSendFailed(InvocationError):
    """The executor's connection is closing and takes no more messages."""

    code = "channel_send_failed"


class InputRejected(InvocationError):
    """The input of a built-in function does not fit (wire-protocol 5.6)."""

    code = "deserialization_error"


class OutputRejected(InvocationError):
    """A handler inside the engine returned a value that JSON cannot carry."""

    code = "serialization_error"


class EnqueueFailed(InvocationError):
    """The `enqueue` action could not hand its message to a queue (wire-protocol 5.3)."""

    code = "enqueue_error"


class InvalidNamespace(InvocationError):
    """A namespace was given and is blank (wire-protocol 12.3)."""

    code = "INVALID_NAMESPACE"


class InvalidAction(InvocationError):
    """The `action` of an invocation is none of the known ones (wire-protocol 2.2, C3)."""

    code = "invalid_action"


class Overloaded(InvocationError):
    """A limit on calls in flight or on waiting bytes is reached; may be tried again."""

    code = "overloaded"


class ModuleUnavailable(InvocationError):
    """The module that owns the function is being restarted; may be tried again."""

    code = "module_unavailable"


class ShuttingDown(InvocationError):
    """The engine is stopping and takes no new work; may be tried again elsewhere."""

    code = "shutting_down"


class PayloadTooLarge(InvocationError):
    """The message exceeds what the receiving SDK can read (wire-protocol 1.2)."""

    code = "payload_too_large"


class Forbidden(InvocationError):
    """Access control of the listener does not admit it (wire-protocol 11.5)."""

    code = "FORBIDDEN"


class UrlValidationFailed(InvocationError):
    """The URL policy refuses the URL of an HTTP-invoked function (wire-protocol 6.3). The message is one of five texts."""

    code = "url_validation_failed"


class HttpRequestFailed(InvocationError):
    """An HTTP-invoked function got no answer: no connection, no TLS, an invalid header, or its time was over."""

    code = "http_request_failed"


class HttpResponseFailed(InvocationError):
    """The answer's body to an HTTP-invoked function broke off or is too large."""

    code = "http_response_failed"


class HttpStatusError(InvocationError):
    """An HTTP-invoked function was answered with a status of 400 or more that says no code of its own."""

    code = "http_error"


class InvalidResponse(InvocationError):
    """An HTTP-invoked function was answered with success and a body that is not JSON."""

    code = "invalid_response"


class TimestampError(InvocationError):
    """The engine's clock stands before 1970, so that a request of an HTTP-invoked function cannot be dated."""

    code = "timestamp_error"


class NotFound(InvocationError):
    """An introspection function was asked for something that does not exist."""

    code = "NOT_FOUND"


class InvalidArguments(InvocationError):
    """An introspection function was asked in a way that makes no sense."""

    code = "INVALID_ARGUMENTS"


class Codes:
    """Codes without a class of their own: in registration answers, in lenient decoding, of single functions."""

    UNKNOWN: ClassVar = "UNKNOWN"
    AUTH_ERROR: ClassVar = "AUTH_ERROR"
    TRIGGER_REGISTRATION_FAILED: ClassVar = "trigger_registration_failed"
    UNREGISTER_FAILED: ClassVar = "unregister_failed"
    WORKER_NAMESPACE_CONFLICT: ClassVar = "WORKER_NAMESPACE_CONFLICT"
    FUNCTION_NAMESPACE_CONFLICT: ClassVar = "FUNCTION_NAMESPACE_CONFLICT"
    INVALID_ID: ClassVar = "INVALID_ID"
    SCHEMA_INVALID: ClassVar = "SCHEMA_INVALID"
    SCHEMA_UNAVAILABLE: ClassVar = "SCHEMA_UNAVAILABLE"
    NOT_REGISTERED: ClassVar = "NOT_REGISTERED"
    EXPAND_FAILED: ClassVar = "EXPAND_FAILED"
    ADAPTER_ERROR: ClassVar = "ADAPTER_ERROR"


def ungrouped(error: Exception) -> Exception:
    """The error in a group of one, at any depth: a nursery wraps its only error so. Any other error as it is."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def to_error_body(error: BaseException) -> ErrorBody:
    """Turn any exception into what a caller sees: total, so that no call goes without an answer.

    An `InvocationError` keeps its code, message and stack trace; everything else is `invocation_failed` with the
    exception's text, as the official SDKs answer for a handler that raised. What is not Unicode in it (names of files
    may be like that) is written out, since no message could carry it.
    """
    if isinstance(error, InvocationError):
        trace = None if error.stacktrace is None else _unicode(error.stacktrace)
        return ErrorBody(_unicode(error.code), _unicode(error.message), trace)
    return ErrorBody(FunctionFailed.code, _unicode(str(error) or type(error).__name__))


def trigger_refusal(text: str) -> ErrorBody:
    """What the registrant of a trigger is told if its provider does not take it (7.3); any text is fit for it."""
    return ErrorBody(Codes.TRIGGER_REGISTRATION_FAILED, _unicode(text))


def _unicode(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def from_error_body(body: ErrorBody) -> InvocationError:
    """The exception for an error body that came over the wire; its class is found by code."""
    cls = _BY_CODE.get(body.code, InvocationError)
    return cls(body.message, code=body.code, stacktrace=body.stacktrace)


_BY_CODE = {cls.code: cls for cls in InvocationError.__subclasses__()}
