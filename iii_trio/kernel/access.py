"""Who may call and register what on a guarded listener (wire-protocol 11.2, 11.5): plain objects, no I/O.

A `Policy` is what the configuration says of one listener, a `Session` what holds for one connection of it.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import attrs
from msgspec import Raw

from iii_trio.protocol.access import AuthResult
from iii_trio.protocol.errors import Forbidden, RemoteProtocolError
from iii_trio.protocol.patterns import compile_pattern, match_argument
from iii_trio.protocol.payload import Json, Payload, decode_json

from .workers import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from .functions import Function

INFRASTRUCTURE: Final = frozenset(
    {
        "engine::channels::create",
        "engine::workers::register",
        *(f"engine::log::{level}" for level in ("info", "warn", "error", "debug", "trace")),
        *(f"engine::baggage::{verb}" for verb in ("get", "set", "get_all")),
    }
)
"""What every session may call unless its `forbidden_functions` name it."""

ASKS_SESSION: Final = frozenset(
    {
        "engine::workers::register",
        "engine::functions::list",
        "engine::functions::info",
        "engine::register_trigger",
        "engine::unregister_trigger",
    }
)
"""Built-in functions whose answer depends on the session of the caller: through a queue or a trigger there is none."""

_CACHE_LIMIT: Final = 4_096
_Test = Callable[[str], bool]
Find = Callable[[str, str], "Function | None"]
"""What is registered in a namespace under an id."""

_NO_METADATA: Final[Mapping[str, Json]] = {}


def is_same(left: Json, right: Json) -> bool:
    """Whether two JSON values are equal as written: `3` is neither `3.0` nor `true`."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(is_same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    return bool(left == right)


@attrs.frozen
class PatternRule:
    """Exposes the functions of one namespace whose id a pattern covers."""

    pattern: str
    namespace: str = DEFAULT_NAMESPACE
    _covers: _Test = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_covers", compile_pattern(self.pattern))

    def admits(self, function_id: str, _: Mapping[str, Json]) -> bool:
        return self._covers(function_id)


@attrs.frozen
class MetadataRule:
    """Exposes the functions of one namespace whose metadata has all of these members."""

    members: Mapping[str, Json]
    namespace: str = DEFAULT_NAMESPACE
    _tests: tuple[tuple[str, Callable[[Json], bool]], ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_tests", tuple((key, _test_of(value)) for key, value in self.members.items()))

    def admits(self, _: str, metadata: Mapping[str, Json]) -> bool:
        return bool(self._tests) and all(key in metadata and test(metadata[key]) for key, test in self._tests)


Rule = PatternRule | MetadataRule


def _test_of(wanted: Json) -> Callable[[Json], bool]:
    pattern = match_argument(wanted) if isinstance(wanted, str) else None
    if pattern is None:
        return lambda value: is_same(value, wanted)
    covers = compile_pattern(pattern)
    return lambda value: isinstance(value, str) and covers(value)


@attrs.frozen
class Policy:
    """What one listener's configuration says. `exposed` is None where it has no `rbac` block."""

    exposed: tuple[Rule, ...] | None = None
    auth_function_id: str | None = None
    on_function: str | None = None
    on_trigger: str | None = None
    on_trigger_type: str | None = None
    middleware_function_id: str | None = None
    gatekeepers: frozenset[str] = frozenset()
    """The functions that guard any listener of the engine; what they are must not be up to those they guard."""

    @property
    def is_rbac(self) -> bool:
        """Whether anything is decided here, beyond sending calls through a middleware."""
        return self.exposed is not None

    @property
    def has_hooks(self) -> bool:
        """Whether registrations are shown to somebody."""
        return any((self.on_function, self.on_trigger, self.on_trigger_type))


def _members_of(metadata: Payload | None) -> Mapping[str, Json]:
    if metadata is None:
        return _NO_METADATA
    try:
        value = metadata.value
    except RemoteProtocolError:
        return _NO_METADATA
    return value if isinstance(value, dict) else _NO_METADATA


def _named_in(config: Raw) -> list[str]:
    """The functions that a trigger's configuration has called beside its target: conditions and HTTP middleware."""
    try:
        value = decode_json(memoryview(config)) if memoryview(config) else None
    except RemoteProtocolError as error:
        raise Forbidden(f"the configuration of a trigger cannot be read: {error}") from error
    if not isinstance(value, dict):
        return []
    middleware = value.get("middleware_function_ids")
    named = [value.get("condition_function_id"), *(middleware if isinstance(middleware, list) else ())]
    return [name for name in named if isinstance(name, str)]


def _grant(text: str) -> _Test:
    """A grant in a namespace: an id, or a pattern, bare or written `match("...")`."""
    pattern = match_argument(text)
    return compile_pattern(text if pattern is None else pattern)


@attrs.define(eq=False)
class Session:
    """What one connection of a guarded listener may do, fixed when it was let in (11.2)."""

    policy: Policy
    id: str
    ip_address: str = ""
    context: Raw = attrs.field(default=Raw(b"{}"), repr=False)
    allowed: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    grants: Mapping[str, tuple[_Test, ...]] = attrs.field(factory=dict)
    trigger_types: frozenset[str] | None = None
    may_register_trigger_types: bool = True
    may_register_functions: bool = True
    prefix: str | None = None
    """Put before the ids of its functions, with `::`."""

    own_ids: dict[str, str] = attrs.field(factory=dict, repr=False)
    """What a worker calls its functions that a hook has renamed, by the id they are stored under."""

    _verdicts: dict[tuple[str, str], tuple[Payload | None, str | None]] = attrs.field(factory=dict, repr=False)
    """Decisions, each with the metadata it was taken for: another registration has another object, if it has any."""

    @classmethod
    def of(cls, policy: Policy, session_id: str, ip_address: str, said: AuthResult | None) -> "Session":
        """The session of a peer the auth function said this of; None where the listener asks nobody."""
        if said is None:
            return cls(policy, session_id, ip_address)
        return cls(
            policy,
            session_id,
            ip_address,
            Raw(bytes(said.context)),
            frozenset(said.allowed_functions),
            frozenset(said.forbidden_functions),
            {namespace: tuple(map(_grant, grants)) for namespace, grants in said.namespaces.items()},
            None if said.allowed_trigger_types is None else frozenset(said.allowed_trigger_types),
            said.allow_trigger_type_registration,
            said.allow_function_registration,
            said.function_registration_prefix,
        )

    # --- calls ------------------------------------------------------------------------------------------------------

    def refusal(self, namespace: str, function_id: str, function: "Function | None") -> Forbidden | None:
        """Why a call is not allowed, None if it is; `function` is what is registered there now (11.5)."""
        key = (namespace, function_id)
        metadata = None if function is None else function.metadata
        known = self._verdicts.get(key)
        if known is None or known[0] is not metadata:
            if len(self._verdicts) >= _CACHE_LIMIT:
                self._verdicts.clear()
            known = self._verdicts[key] = (metadata, self._decide(namespace, function_id, metadata))
        return None if known[1] is None else Forbidden(f"function '{function_id}' not allowed ({known[1]})")

    def sees(self, function: "Function") -> bool:
        """Whether a registered function may be called, and so may be known of."""
        return self.refusal(function.namespace, function.id, function) is None

    def _decide(self, namespace: str, function_id: str, metadata: Payload | None) -> str | None:
        """The remedy that a refusal names, None to allow. The order is that of 11.5."""
        if function_id in self.forbidden:
            return "remove from rbac.forbidden_functions"
        if any(grant(function_id) for grant in self.grants.get(namespace, ())):
            return None
        if namespace == DEFAULT_NAMESPACE and function_id in self.allowed:
            return None
        if function_id in INFRASTRUCTURE or self.policy.exposed is None:
            return None
        members = _members_of(metadata)
        for rule in self.policy.exposed:
            if rule.namespace == namespace and rule.admits(function_id, members):
                return None
        return "add to rbac.expose_functions"

    # --- registrations ----------------------------------------------------------------------------------------------

    def may_live_in(self, namespace: str) -> bool:
        """Whether the connection may be a member of a namespace, or provide anything there."""
        return not self.grants or namespace in self.grants

    def check_home(self, namespace: str) -> None:
        """Raise Forbidden if the connection may not announce that namespace."""
        if not self.may_live_in(namespace):
            permitted = ", ".join(self.grants)
            raise Forbidden(f"namespace '{namespace}' not allowed for this session (permitted: {permitted})")

    def check_trigger(self, find: Find, namespace: str, function_id: str, config: Raw) -> None:
        """Raise Forbidden if a trigger would call what this connection may not call: its target, or what its config names.

        `function_id` is the stored one, `find` gives what is registered under a namespace and an id.
        """
        for called in (function_id, *_named_in(config)):
            self.check_target(namespace, called, find(namespace, called))

    def check_target(self, namespace: str, function_id: str, function: "Function | None") -> None:
        """Raise Forbidden if no trigger of this connection may fire that function, whose id is the stored one (11.7)."""
        refusal = self.refusal(namespace, function_id, function)
        if refusal is None and self.policy.is_rbac and function_id in ASKS_SESSION:
            refusal = Forbidden(f"function '{function_id}' not allowed as the target of a trigger")
        if refusal is not None:
            raise refusal

    def may_use(self, trigger_type: str) -> bool:
        """Whether it may register triggers of this type."""
        return self.trigger_types is None or trigger_type in self.trigger_types

    def stored_id(self, function_id: str) -> str:
        """The id under which a function of this connection is stored (11.8)."""
        return function_id if self.prefix is None else f"{self.prefix}::{function_id}"

    def own_id(self, stored_id: str) -> str:
        """What the connection itself calls a function of its own, given the id it is stored under."""
        own = self.own_ids.get(stored_id)
        if own is not None or self.prefix is None:
            return stored_id if own is None else own
        return stored_id.removeprefix(f"{self.prefix}::")
