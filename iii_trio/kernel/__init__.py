"""Registries, ledger and bus: what the engine knows, as plain objects that no task owns and no crash takes away."""

from ._kernel import Kernel, KernelStatistics, NameConflict
from .access import MetadataRule, PatternRule, Policy, Rule, Session
from .bus import DEFERRED, Bus
from .channel_registry import ChannelLimits, ChannelRegistry, ChannelStatistics
from .channels import Channel, EndTaken, Item
from .clock import Clock, Ids, SystemClock, TrioClock
from .events import KernelEvents
from .functions import Call, Function, FunctionRegistry, Handler, OwnershipConflict
from .invocations import Invocation, Ledger, Limits
from .registrations import Registrations
from .services import ServiceRegistry
from .triggers import Bind, Trigger, TriggerRegistry, TriggerType
from .workers import DEFAULT_NAMESPACE, ModuleOwner, Outlet, Owner, Worker, WorkerRegistry

__all__ = [
    "DEFAULT_NAMESPACE",
    "DEFERRED",
    "Bind",
    "Bus",
    "Call",
    "Channel",
    "ChannelLimits",
    "ChannelRegistry",
    "ChannelStatistics",
    "Clock",
    "EndTaken",
    "Function",
    "FunctionRegistry",
    "Handler",
    "Ids",
    "Invocation",
    "Item",
    "Kernel",
    "KernelEvents",
    "KernelStatistics",
    "Ledger",
    "Limits",
    "MetadataRule",
    "ModuleOwner",
    "NameConflict",
    "Outlet",
    "Owner",
    "OwnershipConflict",
    "PatternRule",
    "Policy",
    "Registrations",
    "Rule",
    "ServiceRegistry",
    "Session",
    "SystemClock",
    "Trigger",
    "TriggerRegistry",
    "TriggerType",
    "TrioClock",
    "Worker",
    "WorkerRegistry",
]
