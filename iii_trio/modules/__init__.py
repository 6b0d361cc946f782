"""Modules: units inside the engine. Built-in ones live in sub-packages; this is the interface for writing your own."""

from .base import AdapterEntry, ConfigurableModule, Module, Trigger, TriggerRegistrator, TriggerType
from .catalogue import CATALOGUE, ModuleCatalogue, ModuleRegistration, register_adapter, register_module
from .driver import ModuleFailed, Phases, RunningModule, Supervised
from .module_engine import ModuleEngine
from .results import (
    Deferred,
    Failure,
    FunctionHandler,
    FunctionResult,
    NoResult,
    RegisterFunctionRequest,
    Success,
)

CoreModule = Module
"""The name of the extension interface in the 0.9 - 0.10 documents."""

__all__ = [
    "CATALOGUE",
    "AdapterEntry",
    "ConfigurableModule",
    "CoreModule",
    "Deferred",
    "Failure",
    "FunctionHandler",
    "FunctionResult",
    "Module",
    "ModuleCatalogue",
    "ModuleEngine",
    "ModuleFailed",
    "ModuleRegistration",
    "NoResult",
    "Phases",
    "RegisterFunctionRequest",
    "RunningModule",
    "Success",
    "Supervised",
    "Trigger",
    "TriggerRegistrator",
    "TriggerType",
    "register_adapter",
    "register_module",
]
