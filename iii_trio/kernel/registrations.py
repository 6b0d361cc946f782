"""What workers register, in the order they say it, under the namespace rules (wire-protocol 4.2, 7, 12.4).

Until its namespace is fixed a worker's registrations are provisional members of `default` (C2): in force at once, kept
in a journal, and moved when the announcement names another namespace.
"""

import logging
from collections.abc import Callable, Container, Iterable
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
from .labels import shown
from .services import ServiceRegistry
from .triggers import Trigger, TriggerRegistry, TriggerType, WorkerProvider
from .workers import DEFAULT_NAMESPACE, Owner, Worker, check_namespace

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
        """Apply one message now; a provisional one that would displace an owner waits for the namespace to be fixed.

        One that is in force gives way to a worker whose namespace is fixed; of modern ones it is tried again when its own is.
        """
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
        self._refuse_http_function(worker, message, reason)

    def _refuse_http_function(self, worker: Worker, message: RegisterFunction, reason: str) -> None:
        _log.warning("function %s of worker %s is not registered: %s", shown(message.id), worker.id, shown(reason))

    def _journal(self, worker: Worker, message: Message, *, is_in_force: bool) -> None:
        """Note a provisional message; what was withdrawn must not come back when the journal is replayed."""
        place = _place(message)
        worker.early.pop(place, None)
        if not isinstance(message, UnregisterFunction | UnregisterTriggerType):
            worker.early[place] = message, is_in_force

    def fix_namespace(self, worker: Worker, namespace: str) -> None:
        """Settle where the worker's registrations live. Once settled it never changes (12.4)."""
        if worker.namespace is not None:
            if namespace != worker.namespace:
                _log.warning("worker %s stays in namespace %s", worker.id, shown(worker.namespace))
            return
        journal, worker.early = worker.early, {}
        lost = self._lost(worker, journal.values())
        moves = namespace != DEFAULT_NAMESPACE
        if moves:
            self.functions.remove_all(worker)
            self.triggers.drop_worker(worker)
        worker.namespace = namespace
        for message, is_in_force in journal.values():
            if _is_due(message, is_in_force=is_in_force, moves=moves, lost=lost):
                self._apply[type(message)](worker, message)

    def _lost(self, worker: Worker, journal: Iterable[tuple[Message, bool]]) -> Container[str]:
        """The functions that others took over meanwhile and that it has to be told of: old SDKs let the last one win (4.2)."""
        if not worker.is_modern:
            return ()
        registered = {message.id for message, _ in journal if isinstance(message, RegisterFunction)}
        return registered - {function_id for _, function_id in worker.functions}

    def withdraw_provisional(self, worker: Worker) -> None:
        """Undo what a worker whose namespace is not fixed has registered, and forget that it did."""
        worker.early.clear()
        self.functions.remove_all(worker)
        self.triggers.drop_worker(worker)

    def _register_function(self, worker: Worker, message: RegisterFunction) -> bool:
        handler = message.handler if isinstance(message, HttpFunction) else None
        if handler is None and is_http_invoked(message):
            self._refuse_http_function(worker, message, "its URL was not checked")
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
            own_id=worker.session.own_id(message.id) if worker.session is not None else None,
        )
        holder = self.functions.find(function.namespace, function.id)
        if worker.namespace is None and holder is not None and holder.owner is not worker:
            return False
        try:
            replaced = self.functions.add(function)
        except OwnershipConflict as conflict:
            _log.warning("refused a registration of worker %s: %s", worker.id, shown(conflict))
            worker.tell(
                RegistrationRejected(
                    Codes.FUNCTION_NAMESPACE_CONFLICT, function.namespace, conflict.owner_id, function_id=function.id
                )
            )
            return False
        if replaced is not None:
            _log.warning("function %s moved from %s to %s", shown(function.id), replaced.owner.id, worker.id)
        return True

    def _unregister_function(self, worker: Worker, message: UnregisterFunction) -> bool:
        return self.functions.remove(worker, worker.home, message.id)

    def _register_trigger_type(self, worker: Worker, message: RegisterTriggerType) -> bool:
        try:
            namespace = worker.home if message.namespace is None else check_namespace(message.namespace)
        except InvalidNamespace as error:
            _log.warning("refused trigger type %s of worker %s: %s", shown(message.id), worker.id, error)
            return False
        if message.namespace is None and self._has_to_wait(worker, message.id):
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

    def _has_to_wait(self, worker: Worker, type_id: str) -> bool:
        """Whether somebody serves a type in `default` whom a worker that may yet live elsewhere must not displace (C2)."""
        holder = self.triggers.get_type(DEFAULT_NAMESPACE, type_id) if worker.namespace is None else None
        return holder is not None and holder.owner is not worker and not _is_closing(holder.owner)

    def _unregister_trigger_type(self, worker: Worker, message: UnregisterTriggerType) -> bool:
        return self.triggers.remove_type(worker, message.namespace or worker.home, message.id)

    def _register_trigger(self, worker: Worker, message: RegisterTrigger) -> bool:
        try:
            namespace = check_namespace(message.namespace)
            check_namespace(message.trigger_namespace, "trigger_namespace")
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


def _is_closing(owner: Owner) -> bool:
    return isinstance(owner, Worker) and owner.closing


def _place(message: Message) -> object:
    """Where a message stands in the journal: a function or trigger type under its key, all else under itself."""
    if isinstance(message, RegisterFunction | UnregisterFunction):
        return message.id
    if isinstance(message, RegisterTriggerType | UnregisterTriggerType):
        return message.namespace, message.id
    return id(message)


def _is_due(message: Message, *, is_in_force: bool, moves: bool, lost: Container[str]) -> bool:
    """Whether a provisional message has to be applied (again): it moves, or its function or type had somebody else meanwhile."""
    if isinstance(message, RegisterFunction):
        return moves or not is_in_force or message.id in lost
    if isinstance(message, RegisterTriggerType):
        return moves or not is_in_force
    return moves and is_in_force


def optional(raw: Raw) -> Payload | None:
    """The payload of an optional field; absent and null mean the same."""
    payload = Payload(Raw(bytes(raw)))
    return None if not memoryview(raw) or payload.is_null else payload
