"""Functions that are HTTP endpoints elsewhere: checked when they are registered, called as invocations (wire-protocol 6)."""

from .config import HttpFunctionsConfig, SecurityConfig
from .module import HttpFunctionsModule, HttpFunctionsStatistics

__all__ = ["HttpFunctionsConfig", "HttpFunctionsModule", "HttpFunctionsStatistics", "SecurityConfig"]
