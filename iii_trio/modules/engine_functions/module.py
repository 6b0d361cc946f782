"""The module that makes the engine answer questions about itself (wire-protocol 13)."""

from collections.abc import Sequence

import attrs
import trio

from iii_trio.kernel import Kernel, ModuleOwner
from iii_trio.modules.built_in import BuiltIn

from ._channels import ChannelCreation
from ._events import FUNCTION_FEED_LIMIT, WORKER_FEED_LIMIT, Feeds, FeedStatistics, FunctionEvents, WorkerEvents
from ._functions import FunctionIntrospection
from ._registration import TriggerRegistration
from ._tree import Tree, TreeIntrospection
from ._triggers import TriggerIntrospection
from ._workers import Modules, WorkerIntrospection

WORKERS_AVAILABLE = "engine::workers-available"
FUNCTIONS_AVAILABLE = "engine::functions-available"


@attrs.frozen
class EngineFunctionsStatistics:
    """The subscribers of the two trigger types, and what could not be delivered to them."""

    workers_available: FeedStatistics
    functions_available: FeedStatistics


@attrs.define(eq=False)
class EngineFunctionsModule:
    """Offers the engine's own functions and trigger types. Keeps nothing: a restart rebuilds itself from the kernel.

    Args:
      owner: under whose name the functions are registered; the same object for every incarnation.
      tree: gives the supervision tree of the whole engine.
      modules: gives the rows of the modules inside the engine for `engine::workers::list`.
      more: further functions to offer under the same name.
    """

    owner: ModuleOwner
    tree: Tree
    modules: Modules
    more: Sequence[BuiltIn] = ()
    _workers: Feeds | None = attrs.field(default=None, init=False)
    _functions: Feeds | None = attrs.field(default=None, init=False)

    async def run(self, kernel: Kernel, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Then the triggers are parked; the functions stay, as the module's owner answers for them."""
        for built_in in self._built_ins(kernel):
            kernel.functions.add(built_in.function(self.owner))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.channels.sweep, name="channels/sweep")
            nursery.start_soon(kernel.bus.runners.sweep, name="runners/sweep")
            self._workers = Feeds(kernel.bus, nursery, WorkerEvents(kernel), WORKER_FEED_LIMIT)
            self._functions = Feeds(kernel.bus, nursery, FunctionEvents(kernel, nursery), FUNCTION_FEED_LIMIT)
            serve = kernel.triggers.serve
            with (
                serve(
                    WORKERS_AVAILABLE,
                    self._workers.bind,
                    owner=self.owner,
                    description="Triggered when workers connect/disconnect",
                ),
                serve(
                    FUNCTIONS_AVAILABLE,
                    self._functions.bind,
                    owner=self.owner,
                    description="Triggered when functions are registered/unregistered",
                ),
            ):
                task_status.started()
                await trio.sleep_forever()

    def statistics(self) -> EngineFunctionsStatistics:
        """Counts of this incarnation, for monitoring."""
        return EngineFunctionsStatistics(
            *(feeds.statistics() if feeds else FeedStatistics(0, 0) for feeds in (self._workers, self._functions))
        )

    def _built_ins(self, kernel: Kernel) -> Sequence[BuiltIn]:
        parts = (
            FunctionIntrospection(kernel),
            WorkerIntrospection(kernel, self.modules),
            TriggerIntrospection(kernel),
            TriggerRegistration(kernel),
            ChannelCreation(kernel.channels),
            TreeIntrospection(self.tree),
        )
        return [*(built_in for part in parts for built_in in part.built_ins()), *self.more]
