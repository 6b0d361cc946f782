"""What workers register, in the order they say it, under the namespace rules (wire-protocol 4.2, 7, 12.4).

Until its namespace is fixed a worker's registrations are provisional members of `default` (C2): in force at once, kept
in a journal, and moved when the announcement names another namespace.
"""

import logging
from collections.abc import Callable
from typing import Any

import attrs
import trio
from msgspec import Raw

from iii_trio.protocol import ErrorBody, Payload
from iii_trio.protocol.errors import Codes, InvalidNamespace
from iii_trio.protocol.messages import (
    Message,
    RegisterFunction,
    RegisterService,
    RegisterTrigger,
    RegisterTriggerType,
    RegistrationRejected,
    TriggerRegistrationResult,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
)

from .functions import Function, FunctionRegistry, OwnershipConflict
from .http_functions import CHECK_DEADLINE, HttpFunction, HttpFunctions, RegistrationRefused, is_http_invoked
from .services import ServiceRegistry
from .triggers import Trigger, TriggerRegistry, TriggerType, WorkerProvider
from .workers import DEFAULT_NAMESPACE, Worker, check_namespace

_log = logging.getLogger("iii_trio.registrations")
_JOURNAL_LIMIT = 50_000


@attrs.define(eq=False)
class Registrations:
    """Applies registration messages of workers to the registries. Nothing but `take_http_function` waits."""

    functions: FunctionRegistry
    triggers: TriggerRegistry
    services: ServiceRegistry
    http_functions: HttpFunctions = attrs.field(factory=HttpFunctions)
    _apply: dict[type[Message], Callable[[Worker, Any], bool]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._apply = {
            RegisterFunction: self._register_function,
            HttpFunction: self._register_function,
            UnregisterFunction: self._unregister_function,
            RegisterTriggerType: self._register_trigger_type,
            UnregisterTriggerType: self._unregister_trigger_type,
            RegisterTrigger: self._register_trigger,
            UnregisterTrigger: self._unregister_trigger,
            RegisterService: self._register_service,
        }

    def take(self, worker: Worker, message: Message) -> None:
        """Apply one message now; a provisional one that would displace an owner waits for the namespace to be fixed."""
        if worker.namespace is None and len(worker.early) >= _JOURNAL_LIMIT:
            self.fix_namespace(worker, DEFAULT_NAMESPACE)
        is_in_force = self._apply[type(message)](worker, message)
        if worker.namespace is None:
            self._journal(worker, message, is_in_force=is_in_force)

    async def take_http_function(self, worker: Worker, message: RegisterFunction) -> None:
        """Check a function that is an HTTP endpoint, then apply it like any other; refused, only the log says why (6.1).

        Waits for the checks, which may look a name up, at most 10 s (1.4). Cancelled: nothing has been registered.
        """
        reason = f"its checks took longer than {CHECK_DEADLINE:g} s"
        with trio.move_on_after(CHECK_DEADLINE):
            try:
                admitted = await self.http_functions.admit(message)
            except RegistrationRefused as refused:
                reason = str(refused)
            else:
                if not worker.closing:
                    self.take(worker, admitted)
                return
        _log.warning("function %s of worker %s is not registered: %s", message.id, worker.id, reason)

    def _journal(self, worker: Worker, message: Message, *, is_in_force: bool) -> None:
        """Note a provisional message; a withdrawn function must not come back when the journal is replayed."""
        if isinstance(message, UnregisterFunction):
            worker.early = [
                entry
                for entry in worker.early
                if not (isinstance(entry[0], RegisterFunction) and entry[0].id == message.id)
            ]
        else:
            worker.early.append((message, is_in_force))

    def fix_namespace(self, worker: Worker, namespace: str) -> None:
        """Settle where the worker's registrations live. Once settled it never changes (12.4)."""
        if worker.namespace is not None:
            if namespace != worker.namespace:
                _log.warning("worker %s stays in namespace %s", worker.id, worker.namespace)
            return
        journal, worker.early = worker.early, []
        moves = namespace != DEFAULT_NAMESPACE
        if moves:
            self.functions.remove_all(worker)
            self.triggers.drop_worker(worker)
        worker.namespace = namespace
        for message, is_in_force in journal:
            if _is_due(message, is_in_force=is_in_force, moves=moves):
                self._apply[type(message)](worker, message)

    def _register_function(self, worker: Worker, message: RegisterFunction) -> bool:
        handler = message.handler if isinstance(message, HttpFunction) else None
        if handler is None and is_http_invoked(message):
            _log.warning("function %s of worker %s is not registered: its URL was not checked", message.id, worker.id)
            return False
        function = Function(
            message.id,
            worker,
            worker.home,
            handler,
            description=message.description,
            request_format=optional(message.request_format),
            response_format=optional(message.response_format),
            metadata=optional(message.metadata),
        )
        holder = self.functions.find(function.namespace, function.id)
        if worker.namespace is None and holder is not None and holder.owner is not worker:
            return False
        try:
            replaced = self.functions.add(function)
        except OwnershipConflict as conflict:
            _log.warning("refused a registration of worker %s: %s", worker.id, conflict)
            worker.tell(
                RegistrationRejected(
                    Codes.FUNCTION_NAMESPACE_CONFLICT, function.namespace, conflict.owner_id, function_id=function.id
                )
            )
            return False
        if replaced is not None:
            _log.warning("function %s moved from %s to %s", function.id, replaced.owner.id, worker.id)
        return True

    def _unregister_function(self, worker: Worker, message: UnregisterFunction) -> bool:
        return self.functions.remove(worker, worker.home, message.id)

    def _register_trigger_type(self, worker: Worker, message: RegisterTriggerType) -> bool:
        try:
            namespace = worker.home if message.namespace is None else check_namespace(message.namespace)
        except InvalidNamespace as error:
            _log.warning("refused trigger type %s of worker %s: %s", message.id, worker.id, error)
            return False
        self.triggers.add_type(
            TriggerType(
                message.id,
                worker,
                WorkerProvider(worker),
                namespace,
                message.description or "",
                optional(message.trigger_request_format),
                optional(message.call_request_format),
            )
        )
        return True

    def _unregister_trigger_type(self, worker: Worker, message: UnregisterTriggerType) -> bool:
        return self.triggers.remove_type(worker, message.namespace or worker.home, message.id)

    def _register_trigger(self, worker: Worker, message: RegisterTrigger) -> bool:
        try:
            namespace = check_namespace(message.namespace)
            check_namespace(message.trigger_namespace)
        except InvalidNamespace as error:
            body = ErrorBody(error.code, error.message)
            worker.tell(TriggerRegistrationResult(message.id, message.trigger_type, message.function_id, body))
            return False
        self.triggers.add(
            Trigger(
                message.id,
                message.trigger_type,
                message.function_id,
                optional(message.config) or Payload(Raw(b"null")),
                optional(message.metadata),
                namespace,
                message.trigger_namespace,
                worker,
            )
        )
        return True

    def _unregister_trigger(self, _: Worker, message: UnregisterTrigger) -> bool:
        return self.triggers.remove(message.id)

    def _register_service(self, _: Worker, message: RegisterService) -> bool:
        return self.services.announce(message.name or message.id, message.description)


def _is_due(message: Message, *, is_in_force: bool, moves: bool) -> bool:
    """Whether a provisional message has to be applied (again): it moves, or had to wait because its function had an owner."""
    if isinstance(message, RegisterFunction):
        return moves or not is_in_force
    return moves and is_in_force


def optional(raw: Raw) -> Payload | None:
    """The payload of an optional field; absent and null mean the same."""
    payload = Payload(Raw(bytes(raw)))
    return None if not memoryview(raw) or payload.is_null else payload
