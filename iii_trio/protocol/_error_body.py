import msgspec


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The error of an invocation or registration on the wire: `{code, message, stacktrace?}`."""

    code: str
    message: str
    stacktrace: str | None = None
