"""How a child came to its end."""

from typing import TypeAlias

import attrs


@attrs.frozen
class Finished:
    """It ran to its own end."""


@attrs.frozen
class Stopped:
    """It was asked to stop, and did; or its supervisor had to cancel it."""


@attrs.frozen
class Crashed:
    """It raised `error`, or was killed (`error` is `Killed`)."""

    error: Exception


Exit: TypeAlias = Finished | Stopped | Crashed


def split_crash(error: BaseException) -> tuple[Crashed | None, BaseException | None]:
    """Split what a child raised into its crash, if any, and what is no `Exception` and must be raised on.

    A group of one is its member: whoever reads `Crashed.error` wants the error, not the shape of a nursery.
    """
    if not isinstance(error, BaseExceptionGroup):
        return (Crashed(error), None) if isinstance(error, Exception) else (None, error)
    errors, rest = error.split(Exception)
    crash: Exception | None = errors
    while isinstance(crash, ExceptionGroup) and len(crash.exceptions) == 1:
        crash = crash.exceptions[0]
    return None if crash is None else Crashed(crash), rest
