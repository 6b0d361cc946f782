"""The configuration of an engine: YAML of every era, `${VAR:default}`, typed and checked, every problem at once.

Implements config-cli-modules 1 and 12. Nothing here knows a module: the engine passes a `Catalogue`.
"""

from .build import NAMESPACE_GRACE_VARIABLE, build_settings, default_settings
from .catalogue import Catalogue
from .json_schema import json_schema
from .load import DEFAULT_NAMES, find_config, load_settings
from .model import (
    DEFAULT_NAMESPACE_GRACE_MS,
    DEFAULT_PORT,
    AdapterEntry,
    ModuleEntry,
    RbacConfig,
    Settings,
    WorkerListenerConfig,
)
from .names import MODULES, AdapterNames, ModuleNames, find_module
from .reference import render_reference
from .structure import structure_config

__all__ = [
    "DEFAULT_NAMES",
    "DEFAULT_NAMESPACE_GRACE_MS",
    "DEFAULT_PORT",
    "MODULES",
    "NAMESPACE_GRACE_VARIABLE",
    "AdapterEntry",
    "AdapterNames",
    "Catalogue",
    "ModuleEntry",
    "ModuleNames",
    "RbacConfig",
    "Settings",
    "WorkerListenerConfig",
    "build_settings",
    "default_settings",
    "find_config",
    "find_module",
    "json_schema",
    "load_settings",
    "render_reference",
    "structure_config",
]
