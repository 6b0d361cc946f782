"""iii-trio: the iii backend orchestration engine on Trio. `open_engine` runs it inside a Trio program."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .builder import EngineBuilder
    from .engine import Engine, EngineStatistics, open_engine
    from .modules import Module, register_adapter, register_module
    from .worker import connect

__version__ = "0.1.0"

_HOMES = {
    "Engine": ".engine",
    "EngineBuilder": ".builder",
    "EngineStatistics": ".engine",
    "Module": ".modules",
    "connect": ".worker",
    "open_engine": ".engine",
    "register_adapter": ".modules",
    "register_module": ".modules",
}

__all__ = [
    "Engine",
    "EngineBuilder",
    "EngineStatistics",
    "Module",
    "__version__",
    "connect",
    "open_engine",
    "register_adapter",
    "register_module",
]


def __getattr__(name: str) -> Any:
    """Import on first use: `iii-trio --version` needs none of it."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
