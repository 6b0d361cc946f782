"""The engine's own functions: who is connected, which functions and triggers there are, and news of changes."""

from ._events import FeedStatistics
from ._rows import ModuleRow
from .module import FUNCTIONS_AVAILABLE, WORKERS_AVAILABLE, EngineFunctionsModule, EngineFunctionsStatistics

__all__ = [
    "FUNCTIONS_AVAILABLE",
    "WORKERS_AVAILABLE",
    "EngineFunctionsModule",
    "EngineFunctionsStatistics",
    "FeedStatistics",
    "ModuleRow",
]
