"""The function registry (wire-protocol 4): who answers which id in which namespace."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

import attrs

from iii_trio.protocol.codec import encode_text
from iii_trio.protocol.errors import FunctionNotFound, IIIError
from iii_trio.protocol.payload import Json, Payload

from .events import KernelEvents
from .workers import DEFAULT_NAMESPACE, Owner, Worker

_RESERVED = "engine::"


@attrs.define(eq=False)  # not frozen: for the hottest of objects that costs twice as much
class Call:
    """What a handler inside the engine gets to see of its invocation."""

    function_id: str
    invocation_id: str
    payload: Payload
    metadata: Payload | None = None
    caller: Worker | None = None
    traceparent: str | None = None
    baggage: str | None = None


Handler = Callable[[Call], Awaitable[Payload | Json]]
"""Runs one invocation inside the engine; returns a Payload or a JSON value, raises InvocationError."""


@attrs.define(eq=False)
class Function:
    """One registration of a function by one owner. Without a `handler` it is run by its worker."""

    id: str
    owner: Owner
    namespace: str = DEFAULT_NAMESPACE
    handler: Handler | None = attrs.field(default=None, repr=False)
    description: str | None = None
    request_format: Payload | None = None
    response_format: Payload | None = None
    metadata: Payload | None = None
    own_id: str | None = None
    """What its worker calls it, if that is not `id` (11.7, 11.8)."""

    invoke_member: bytes = attrs.field(init=False, repr=False)
    """What stands between the id of a call and its data in an `invokefunction`."""

    result_member: bytes = attrs.field(init=False, repr=False)
    """The member that names it in an `invocationresult`."""

    def __attrs_post_init__(self) -> None:
        self.result_member = function_member(self.id)
        own_member = self.result_member if self.own_id is None else function_member(self.own_id)
        self.invoke_member = b'"' + own_member + b',"data":'

    @property
    def worker(self) -> Worker | None:
        """The owner if it is a worker (connected, or in this process)."""
        return self.owner if isinstance(self.owner, Worker) else None


def function_member(function_id: str) -> bytes:
    """A further member of a JSON object, which names a function."""
    return b',"function_id":' + encode_text(function_id)


class OwnershipConflict(IIIError):
    """The id belongs to somebody else, who keeps it. `owner_id` is empty for built-in and reserved ids."""

    def __init__(self, function: Function, owner_id: str) -> None:
        super().__init__(
            f"function {function.id} in namespace {function.namespace} is owned by {owner_id or 'the engine'}"
        )
        self.owner_id = owner_id


class OwnerPolicy(Protocol):
    """Decides who owns an id when several want it; the seam for replicas of a function."""

    def admit(self, owners: list[Function], newcomer: Function) -> list[Function]:
        """The owners from now on; raises OwnershipConflict to refuse the newcomer."""
        ...


@attrs.frozen
class Exclusive:
    """One owner per id (4.2): a legacy newcomer takes over, a modern one is refused, built-in ids are never given up."""

    def admit(self, owners: list[Function], newcomer: Function) -> list[Function]:
        holder = owners[0].owner if owners else None
        if holder is None or holder is newcomer.owner or not isinstance(newcomer.owner, Worker):
            return [newcomer]
        if not isinstance(holder, Worker):
            raise OwnershipConflict(newcomer, "")
        if holder.closing or not newcomer.owner.is_modern or _gives_way(holder, newcomer.owner):
            return [newcomer]
        raise OwnershipConflict(newcomer, holder.id)


def _gives_way(holder: Worker, newcomer: Worker) -> bool:
    """Whether the holder may yet turn out to live elsewhere, while the newcomer is where it says it is (C2)."""
    return holder.namespace is None and newcomer.namespace is not None


@attrs.frozen
class FunctionStatistics:
    """Counts of the function registry."""

    functions: int
    namespaces: int


@attrs.define(eq=False)
class FunctionRegistry:
    """Functions by namespace and id, each with the list of its owners."""

    _events: KernelEvents
    _policy: OwnerPolicy = Exclusive()
    _spaces: dict[str, dict[str, list[Function]]] = attrs.field(factory=lambda: {DEFAULT_NAMESPACE: {}})
    _elsewhere: dict[str, set[str]] = attrs.field(factory=dict)
    """The namespaces other than `default` that have an id."""

    changes: int = 0
    """Registrations and withdrawals so far: as long as it is the same, so is everything here."""

    def __iter__(self) -> Iterator[Function]:
        return (owners[0] for space in tuple(self._spaces.values()) for owners in tuple(space.values()))

    def find(self, namespace: str, function_id: str) -> Function | None:
        """The function that answers a call of this id in this namespace."""
        space = self._spaces.get(namespace)
        owners = space.get(function_id) if space is not None else None
        return owners[0] if owners else None

    def missing(self, namespace: str, function_id: str, *, for_worker: bool) -> FunctionNotFound:
        """The error for a call of an id that is not there, naming where it is (5.1).

        Workers get sentences; a call from inside the engine, whose text is often quoted, has no full stop.
        """
        text = f"Function {function_id} not found in namespace {namespace}"
        if elsewhere := self.namespaces_of(function_id):
            text += f". It is registered in namespace(s): {', '.join(elsewhere)}"
        return FunctionNotFound(f"{text}." if for_worker else text)

    def namespaces_of(self, function_id: str) -> list[str]:
        """Every namespace that has the id, sorted."""
        elsewhere = self._elsewhere.get(function_id, ())
        return sorted((*elsewhere, DEFAULT_NAMESPACE) if function_id in self._spaces[DEFAULT_NAMESPACE] else elsewhere)

    def add(self, function: Function) -> Function | None:
        """Register; returns the registration of another owner that this one replaced.

        Raises OwnershipConflict when the id is someone else's to keep, or reserved (4.4).
        """
        if function.id.startswith(_RESERVED) and function.namespace != DEFAULT_NAMESPACE:
            raise OwnershipConflict(function, "")
        space = self._spaces.setdefault(function.namespace, {})
        before = space.get(function.id, [])
        try:
            space[function.id] = self._policy.admit(before, function)
        except OwnershipConflict:
            self._drop_if_empty(function.namespace)
            raise
        key = (function.namespace, function.id)
        for old in before:
            if old not in space[function.id]:
                old.owner.functions.pop(key, None)
        function.owner.functions[key] = function
        if function.namespace != DEFAULT_NAMESPACE:
            self._elsewhere.setdefault(function.id, set()).add(function.namespace)
        self.changes += 1
        self._events.emit("function_registered", function.id)
        return next((old for old in before if old.owner is not function.owner), None)

    def remove(self, owner: Owner, namespace: str, function_id: str) -> bool:
        """Withdraw an id that `owner` holds now; False (and no effect) if it does not."""
        if owner.functions.pop((namespace, function_id), None) is None:
            return False
        space = self._spaces[namespace]
        remaining = [function for function in space[function_id] if function.owner is not owner]
        if remaining:
            space[function_id] = remaining
        else:
            del space[function_id]
            self._forget_place(namespace, function_id)
        self.changes += 1
        self._events.emit("function_unregistered", function_id)
        return True

    def remove_all(self, owner: Owner) -> None:
        """Withdraw everything `owner` still holds."""
        for namespace, function_id in tuple(owner.functions):
            self.remove(owner, namespace, function_id)

    def _forget_place(self, namespace: str, function_id: str) -> None:
        if namespace != DEFAULT_NAMESPACE:
            places = self._elsewhere[function_id]
            places.remove(namespace)
            if not places:
                del self._elsewhere[function_id]
        self._drop_if_empty(namespace)

    def _drop_if_empty(self, namespace: str) -> None:
        if namespace != DEFAULT_NAMESPACE and not self._spaces[namespace]:
            del self._spaces[namespace]

    def statistics(self) -> FunctionStatistics:
        """Counts, for monitoring and leak tests."""
        return FunctionStatistics(sum(map(len, self._spaces.values())), len(self._spaces))
