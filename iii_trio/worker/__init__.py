"""The Trio SDK: one `Worker` for programs that connect to an engine and for code in the engine's own process."""

from ._channels import Channel, ChannelReader, ChannelWriter
from ._connect import connect
from ._errors import WorkerRejected
from ._functions import FunctionHandler, InvocationContext
from ._link import LinkStatistics
from ._local import open_local_worker
from ._schema import schema_of
from ._triggers import TriggerConfig, TriggerError, TriggerHandler
from ._worker import TriggerHandle, Worker, WorkerStatistics

__all__ = [
    "Channel",
    "ChannelReader",
    "ChannelWriter",
    "FunctionHandler",
    "InvocationContext",
    "LinkStatistics",
    "TriggerConfig",
    "TriggerError",
    "TriggerHandle",
    "TriggerHandler",
    "Worker",
    "WorkerRejected",
    "WorkerStatistics",
    "connect",
    "open_local_worker",
    "schema_of",
]
