"""Typed, named configuration values that workers read, change and follow (config-cli-modules 7)."""

from .config import ConfigurationConfig, FsConfig, MemoryConfig
from .module import ConfigurationModule
from .store import ConfigurationAdapter, OpenAdapter, Stored

__all__ = [
    "ConfigurationAdapter",
    "ConfigurationConfig",
    "ConfigurationModule",
    "FsConfig",
    "MemoryConfig",
    "OpenAdapter",
    "Stored",
]
