"""`engine::workers::list`, `engine::workers::info` and the announcement (wire-protocol 3.3, 13.4, 13.5)."""

import logging
from collections.abc import Callable, Sequence

import attrs
import trio

from iii_trio.kernel import DEFAULT_NAMESPACE, Call, Function, Kernel, NameConflict, Worker
from iii_trio.kernel.labels import shown
from iii_trio.modules.built_in import BuiltIn
from iii_trio.protocol import Json, decode_announcement
from iii_trio.protocol.errors import Codes, InputRejected, InvocationError, NotFound
from iii_trio.protocol.messages import Announcement, RegistrationRejected

from . import _schemas as schemas
from ._functions import in_order
from ._inputs import ListWorkers, WorkerInfo
from ._rows import (
    ModuleRow,
    Reader,
    Row,
    connection_row,
    function_row,
    module_row,
    owner_name,
    present,
    provider_name,
    trigger_row,
    trigger_type_row,
)
from ._triggers import live_triggers, target_of, trigger_types

_log = logging.getLogger("iii_trio.engine_functions")
_NEW = Reader()
_CLOSE_REASON = "name_conflict"
Modules = Callable[[], Sequence[ModuleRow]]


@attrs.frozen
class WorkerIntrospection:
    """Tells callers who is connected, and takes announcements that do not come over a socket of their own."""

    kernel: Kernel
    modules: Modules

    def built_ins(self) -> tuple[BuiltIn, ...]:
        return (
            BuiltIn(
                "engine::workers::register",
                "Says who a connection is: runtime, version, name, namespace.",
                Announcement,
                schemas.SUCCESS,
                self.register,
            ),
            BuiltIn.of(
                "engine::workers::list",
                "Lists the connected workers and the modules inside the engine, with filters.",
                ListWorkers,
                schemas.WORKERS,
                self.list_workers,
            ),
            BuiltIn.of(
                "engine::workers::info",
                "Describes a worker or module with its functions, trigger types and triggers.",
                WorkerInfo,
                schemas.WORKER,
                self.info,
            ),
        )

    async def register(self, call: Call) -> Json:
        """Announce the calling worker; one that claims a live name is told so and loses its connection (3.4).

        Raises InputRejected without a calling worker, InvalidNamespace.
        """
        await trio.lowlevel.checkpoint()
        said = decode_announcement(call.payload.raw)
        worker = call.caller
        if worker is None:
            raise InputRejected("engine::workers::register can only be called by a worker, about itself")
        try:
            self.kernel.announce(worker, said)
        except NameConflict as conflict:
            _dismiss(worker, conflict)
            return None  # nobody is left to read it
        return {"success": True}

    def list_workers(self, call: Call, asked: ListWorkers) -> Json:
        """The rows a caller wants, in the shape it can read. Connections without a `pid` show only by id."""
        reader = Reader.of(call.caller)
        wanted = asked.worker_id if reader.is_old else None
        rows = [
            connection_row(worker, reader)
            for worker in self.kernel.workers
            if (worker.pid is not None if wanted is None else worker.id == wanted)
        ]
        owned = self._owned()
        rows += [
            module_row(module, owned.get(module.id, ()), reader)
            for module in self.modules()
            if wanted in {None, module.id}
        ]
        rows.sort(key=lambda row: (row["name"] or "", row["id"]))
        if reader.is_old:
            return {"workers": rows, "timestamp": int(self.kernel.clock.now() * 1000)}
        return {"workers": [row for row in rows if _passes(row, asked)]}

    def info(self, _: Call, asked: WorkerInfo) -> Json:
        """One worker and all it offers. Raises NotFound."""
        if asked.namespace in {None, DEFAULT_NAMESPACE}:
            for module in self.modules():
                if module.name == asked.name:
                    return self._module_info(module)
        return self._connection_info(self._find(asked.name, asked.namespace))

    def _find(self, name: str, namespace: str | None) -> Worker:
        """The youngest connection of that name, as `find_function` chooses the namespace."""
        homes = {worker.home: worker for worker in self.kernel.workers.named([name]) if not worker.closing}
        if namespace is None and DEFAULT_NAMESPACE not in homes and len(homes) == 1:
            return next(iter(homes.values()))
        worker = homes.get(DEFAULT_NAMESPACE if namespace is None else namespace)
        if worker is not None:
            return worker
        if homes:
            raise NotFound(
                f"Worker '{name}' is connected in namespace(s): {', '.join(sorted(homes))}. Pass one of them."
            )
        raise NotFound(f"Worker '{name}' is not connected.")

    def _connection_info(self, worker: Worker) -> Row:
        """A connection and what it alone owns, whoever shares its name."""
        triggers = [(trigger, target_of(self.kernel, trigger)) for trigger in live_triggers(self.kernel)]
        return {
            "worker": {**connection_row(worker, _NEW), **present(pid=worker.pid), "internal": False},
            "functions": [function_row(function, _NEW) for function in in_order(worker.functions.values())],
            "trigger_types": [trigger_type_row(kind) for kind in trigger_types(self.kernel) if kind.owner is worker],
            "registered_triggers": [
                trigger_row(trigger, target)
                for trigger, target in triggers
                if target is not None and target.owner is worker
            ],
        }

    def _module_info(self, module: ModuleRow) -> Row:
        """A module and the rows of the other lists that go under its name."""
        triggers = [(trigger, target_of(self.kernel, trigger)) for trigger in live_triggers(self.kernel)]
        functions = self._owned().get(module.id, [])
        return {
            "worker": {**module_row(module, functions, _NEW), "internal": module.internal},
            "functions": [function_row(function, _NEW) for function in functions],
            "trigger_types": [
                trigger_type_row(kind) for kind in trigger_types(self.kernel) if provider_name(kind) == module.name
            ],
            "registered_triggers": [
                trigger_row(trigger, target)
                for trigger, target in triggers
                if target is not None and owner_name(target) == module.name
            ],
        }

    def _owned(self) -> dict[str, list[Function]]:
        """The functions of every owner inside the engine, by its id."""
        owned: dict[str, list[Function]] = {}
        for function in in_order(self.kernel.functions):
            if function.worker is None:
                owned.setdefault(function.owner.id, []).append(function)
        return owned


def _passes(row: Row, asked: ListWorkers) -> bool:
    return (
        (asked.search or "").lower() in (row["name"] or "").lower()
        and asked.runtime in {None, row["runtime"]}
        and asked.status in {None, row["status"]}
    )


def _dismiss(worker: Worker, conflict: NameConflict) -> None:
    """Tell the newcomer who holds its name and end its connection; one without a connection gets an error."""
    _log.warning("refused worker %s: %s", worker.id, shown(conflict))
    if worker.close is None:
        raise InvocationError(str(conflict), code=Codes.WORKER_NAMESPACE_CONFLICT) from conflict
    worker.tell(
        RegistrationRejected(
            Codes.WORKER_NAMESPACE_CONFLICT, conflict.namespace, conflict.owner_id, worker_name=conflict.name
        )
    )
    worker.close(_CLOSE_REASON)
