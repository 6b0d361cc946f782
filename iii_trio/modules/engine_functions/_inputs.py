"""What the engine's own functions take (wire-protocol 13): objects whose unknown members are ignored."""

from typing import Annotated

from msgspec import Meta, Raw, Struct, field

from iii_trio.protocol.messages import ABSENT

Text = str | None
Flag = bool | None

IncludeInternal = Annotated[
    Flag, Meta(description="Also what belongs to the engine itself (ids that start with engine::).")
]
Search = Annotated[Text, Meta(description="Only rows that contain this text, whatever its case; empty: no filter.")]
Prefix = Annotated[Text, Meta(description="Only ids that start with this.")]
WorkerName = Annotated[Text, Meta(description="Only rows of the worker with this name.")]
Namespace = Annotated[Text, Meta(description="The namespace to look in.")]


class NoInput(Struct, frozen=True):
    """An object without members of interest."""


class ListFunctions(Struct, frozen=True):
    """Filters of `engine::functions::list` (13.2)."""

    include_internal: IncludeInternal = None
    search: Search = None
    prefix: Prefix = None
    worker: WorkerName = None
    workers: Annotated[tuple[str, ...] | None, Meta(description="Only rows of workers with one of these names.")] = None


class FunctionInfo(Struct, frozen=True):
    """One function or up to 32 (13.3)."""

    function_id: Annotated[Text, Meta(description="The function to describe.")] = None
    function_ids: Annotated[tuple[str, ...] | None, Meta(description="1 to 32 functions, instead of one.")] = None
    namespace: Namespace = None


class ListWorkers(Struct, frozen=True):
    """Filters of `engine::workers::list` (13.4); `worker_id` counts for SDKs before 0.13, the others since."""

    worker_id: Annotated[Text, Meta(description="Only this worker (SDKs before 0.13).")] = None
    search: Search = None
    runtime: Annotated[Text, Meta(description="Only workers of this runtime.")] = None
    status: Annotated[Text, Meta(description="Only workers of this status.")] = None


class WorkerInfo(Struct, frozen=True):
    """Which worker to describe (13.5)."""

    name: Annotated[str, Meta(description="The name of the worker.")]
    namespace: Namespace = None


class ListTriggerTypes(Struct, frozen=True):
    """Filters of `engine::triggers::list` and `engine::trigger-types::list` (13.6)."""

    include_internal: IncludeInternal = None
    search: Search = None
    prefix: Prefix = None
    worker: WorkerName = None


class TriggerTypeInfo(Struct, frozen=True):
    """Which trigger type to describe (13.6)."""

    id: Annotated[str, Meta(description="The trigger type.")]
    namespace: Namespace = None


class ListTriggers(Struct, frozen=True):
    """Filters of `engine::registered-triggers::list` (13.6)."""

    include_internal: IncludeInternal = None
    search: Search = None
    trigger_type: Annotated[Text, Meta(description="Only triggers of this type.")] = None
    function_id: Annotated[Text, Meta(description="Only triggers that fire this function.")] = None
    worker: WorkerName = None


class TriggerInfo(Struct, frozen=True):
    """Which trigger to describe (13.6)."""

    id: Annotated[str, Meta(description="The trigger.")]


class NewTrigger(Struct, frozen=True):
    """A trigger that outlives whoever registers it (7.7)."""

    trigger_type: Annotated[str, Meta(description="What fires it.")]
    function_id: Annotated[str, Meta(description="The function it fires, in the namespace default.")]
    config: Annotated[Raw, Meta(description="What the trigger type wants to know.")] = field(
        default_factory=lambda: ABSENT
    )
    metadata: Annotated[Raw, Meta(description="Handed to the function with every firing.")] = field(
        default_factory=lambda: ABSENT
    )
    trigger_namespace: Annotated[Text, Meta(description="Where the provider of the type is; default if left out.")] = (
        None
    )


class OldTrigger(Struct, frozen=True):
    """Which trigger to remove (7.7)."""

    id: Annotated[str, Meta(description="The trigger.")]
    trigger_type: Annotated[Text, Meta(description="Its type; the id alone decides.")] = None


class NewChannel(Struct, frozen=True):
    """A data channel (10.1)."""

    buffer_size: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="Items buffered at most: 64 unless given, from 1 to 1024.")
    ] = None
