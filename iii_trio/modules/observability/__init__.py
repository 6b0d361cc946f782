"""What functions may say to the engine's log and ask of their own trace context. Nothing is stored."""

from collections.abc import Sequence

from iii_trio.modules.built_in import BuiltIn

from ._baggage import baggage_functions
from ._log import log_functions


def observability_functions() -> Sequence[BuiltIn]:
    """`engine::log::*` and `engine::baggage::*` (observability 4.1, 6.6)."""
    return (*log_functions(), *baggage_functions())


__all__ = ["observability_functions"]
