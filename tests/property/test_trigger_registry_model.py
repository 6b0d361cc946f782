"""The trigger registry keeps indexes; it must answer as one that looks at every trigger each time (wire-protocol 7)."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from iii_trio.kernel import KernelEvents, ModuleOwner, Trigger, TriggerType, Worker
from iii_trio.kernel.triggers import TriggerRegistry, WorkerProvider
from iii_trio.protocol import Buffer, ErrorBody, Payload, decode_json
from iii_trio.protocol.errors import TriggerRejected

HOMES = ("default", "shop", "shop")
NAMESPACES = st.sampled_from(("default", "shop"))
TYPES = st.sampled_from(("bell", "clock", "timer"))  # `timer` may become another name of `clock`
TRIGGER_IDS = st.sampled_from("abcdefgh")
SEATS = st.integers(0, len(HOMES) - 1)
WORDS = {"registertrigger": "+", "unregistertrigger": "-", "triggerregistrationresult": "!"}
Heard = tuple[str, str, str]
"""Who was told, what (`+` and `-` to a provider, `!` to a registrant), about which trigger."""


@attrs.define(eq=False)
class Ear:
    """The outlet of a worker: notes what it is told."""

    name: str
    heard: list[Heard]
    is_full: bool = False

    def send(self, pieces: Sequence[Buffer], size: int) -> None:
        message = decode_json(b"".join(pieces))
        self.heard.append((self.name, WORDS[message["type"]], message["id"]))

    def has_room(self, size: int) -> bool:
        return size >= 0

    async def wait_room(self) -> None:
        raise AssertionError("nobody waits")


@attrs.define(eq=False)
class Provider:
    """Who serves a type in the model."""

    name: str
    is_local: bool = False


@attrs.define(eq=False)
class Entry:
    """A trigger in the model."""

    id: str
    type: str
    namespaces: tuple[str, ...]
    registrant: str | None
    is_bad: bool
    bound: Provider | None = None


@attrs.define(eq=False)
class Model:
    """What section 7 says, by looking at everything every time."""

    types: dict[tuple[str, str], Provider] = attrs.field(factory=dict)
    covered: dict[tuple[str, str], Provider] = attrs.field(factory=dict)
    triggers: dict[str, Entry] = attrs.field(factory=dict)
    aliases: dict[str, str] = attrs.field(factory=dict)
    heard: list[Heard] = attrs.field(factory=list)

    def resolve(self, entry: Entry) -> Provider | None:
        kind = self.aliases.get(entry.type, entry.type)
        found = (self.types.get((namespace, kind)) for namespace in entry.namespaces)
        return next((provider for provider in found if provider is not None), None)

    def add_type(self, key: tuple[str, str], provider: Provider) -> None:
        former = self.types.get(key)
        if provider.is_local:
            self.covered.pop(key, None)
        elif former is not None and former.is_local:
            self.covered[key] = former
        self.types[key] = provider
        for entry in tuple(self.triggers.values()):
            kind = self.aliases.get(entry.type, entry.type)
            if kind == key[1] and self.resolve(entry) is provider:
                swapped = former is not None and entry.bound is former and not former.is_local
                self.move(entry, provider, silent=swapped)

    def remove_type(self, key: tuple[str, str], owner: str) -> bool:
        provider = self.types.get(key)
        if provider is None or provider.name != owner:
            covered = self.covered.get(key)
            if covered is None or covered.name != owner:
                return False
            del self.covered[key]
            return True
        del self.types[key]
        for entry in tuple(self.triggers.values()):
            if entry.bound is provider:
                self.move(entry, self.resolve(entry), silent=not provider.is_local)
        if key in self.covered:
            self.add_type(key, self.covered.pop(key))
        return True

    def add(self, entry: Entry) -> None:
        former, provider = self.triggers.get(entry.id), self.resolve(entry)
        if former is not None:
            again = former.bound is provider and provider is not None and not provider.is_local
            self.forget(former, silent=again)
        self.triggers[entry.id] = entry
        self.move(entry, provider, silent=True)

    def forget(self, entry: Entry, *, silent: bool) -> None:
        del self.triggers[entry.id]
        self.unbind(entry, silent=silent)

    def unbind(self, entry: Entry, *, silent: bool) -> None:
        if entry.bound is not None and not silent:
            self.heard.append((entry.bound.name, "-", entry.id))
        entry.bound = None

    def move(self, entry: Entry, provider: Provider | None, *, silent: bool) -> None:
        self.unbind(entry, silent=silent)
        if provider is None:
            return
        if provider.is_local and entry.is_bad:
            self.forget(entry, silent=True)
            self.tell_registrant(entry)
            return
        entry.bound = provider
        self.heard.append((provider.name, "+", entry.id))

    def refuse(self, trigger_id: str, provider: str) -> None:
        entry = self.triggers.get(trigger_id)
        if entry is not None and entry.bound is not None and entry.bound.name == provider:
            entry.bound = None
            self.tell_registrant(entry)

    def tell_registrant(self, entry: Entry) -> None:
        if entry.registrant is not None:
            self.heard.append((entry.registrant, "!", entry.id))

    def drop_worker(self, name: str) -> None:
        for entry in [entry for entry in self.triggers.values() if entry.registrant == name]:
            told = entry.bound is not None and entry.bound.name != name  # who is leaving hears nothing any more
            self.forget(entry, silent=not told)
        for key in [key for key, provider in self.types.items() if provider.name == name]:
            self.remove_type(key, name)


class TriggerRegistryMachine(RuleBasedStateMachine):
    """Workers with homes, types that come and go among them and inside the engine, and triggers for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers, self.model = TriggerRegistry(KernelEvents()), Model()
        self.heard: list[Heard] = []
        self.connections = 0
        self.workers = [self.connect(home) for home in HOMES]
        self.serving: dict[str, ExitStack] = {}

    def connect(self, home: str) -> Worker:
        self.connections += 1
        name = f"worker {self.connections}"
        return Worker(name, outlet=Ear(name, self.heard), namespace=home)

    @rule(seat=SEATS, namespace=NAMESPACES, kind=TYPES)
    def add_type(self, seat: int, namespace: str, kind: str) -> None:
        worker = self.workers[seat]
        self.triggers.add_type(TriggerType(kind, worker, WorkerProvider(worker), namespace))
        self.model.add_type((namespace, kind), Provider(worker.id))

    @rule(seat=SEATS, namespace=NAMESPACES, kind=TYPES)
    def remove_type(self, seat: int, namespace: str, kind: str) -> None:
        removed = self.triggers.remove_type(self.workers[seat], namespace, kind)
        assert removed == self.model.remove_type((namespace, kind), self.workers[seat].id)

    @rule(
        trigger_id=TRIGGER_IDS,
        kind=TYPES,
        where=st.one_of(st.none(), NAMESPACES),
        seat=st.one_of(st.none(), SEATS),
        is_bad=st.booleans(),
    )
    def add(self, trigger_id: str, kind: str, where: str | None, seat: int | None, is_bad: bool) -> None:
        registrant = None if seat is None else self.workers[seat]
        trigger = Trigger(trigger_id, kind, "f", Payload.of(is_bad), trigger_namespace=where, registrant=registrant)
        self.triggers.add(trigger)
        home = registrant.home if registrant else "default"
        namespaces = (where,) if where else tuple(dict.fromkeys((home, "default")))
        self.model.add(Entry(trigger_id, kind, namespaces, registrant.id if registrant else None, is_bad))

    @rule(trigger_id=TRIGGER_IDS)
    def remove(self, trigger_id: str) -> None:
        entry = self.model.triggers.get(trigger_id)
        assert self.triggers.remove(trigger_id) == (entry is not None)
        if entry is not None:
            self.model.forget(entry, silent=False)

    @rule(trigger_id=TRIGGER_IDS, seat=SEATS)
    def refuse(self, trigger_id: str, seat: int) -> None:
        self.triggers.refused_by_provider(self.workers[seat], trigger_id, ErrorBody("no", "no"))
        self.model.refuse(trigger_id, self.workers[seat].id)

    @rule(seat=SEATS)
    def reconnect(self, seat: int) -> None:
        leaving = self.workers[seat]
        leaving.closing = True
        self.triggers.drop_worker(leaving)
        self.model.drop_worker(leaving.id)
        assert leaving.triggers == leaving.trigger_types == {}
        self.workers[seat] = self.connect(HOMES[seat])

    @rule(kind=st.sampled_from(("bell", "clock")), with_alias=st.booleans())
    def serve(self, kind: str, with_alias: bool) -> None:
        """A module starts, or the running one stops."""
        if (running := self.serving.pop(kind, None)) is not None:
            self.model_stop(kind)
            running.close()
            return
        owner, alias = ModuleOwner(f"module {kind}"), "timer" if with_alias and kind == "clock" else None
        if alias:
            self.model.aliases[alias] = kind
        self.model.add_type(("default", kind), Provider(owner.id, is_local=True))
        running = self.serving[kind] = ExitStack()
        running.enter_context(self.triggers.serve(kind, self.bind_for(owner.id), owner=owner, alias=alias))

    def model_stop(self, kind: str) -> None:
        self.model.remove_type(("default", kind), f"module {kind}")

    def bind_for(self, owner: str) -> Callable[[Trigger], Callable[[], None]]:
        def bind(trigger: Trigger) -> Callable[[], None]:
            if trigger.config.value:
                raise TriggerRejected("bad")
            self.heard.append((owner, "+", trigger.id))
            return lambda: self.heard.append((owner, "-", trigger.id))

        return bind

    @invariant()
    def same_words(self) -> None:
        """Everybody has been told the same, each trigger's words in the same order."""
        expected, self.model.heard = self.model.heard, []
        heard = self.heard[:]
        self.heard.clear()
        assert sorted(heard, key=lambda word: word[2]) == sorted(expected, key=lambda word: word[2])

    @invariant()
    def same_triggers(self) -> None:
        triggers, model = self.triggers, self.model
        assert {key.id for key in triggers.live} == {entry.id for entry in model.triggers.values() if entry.bound}
        assert {(kind.namespace, kind.id) for kind in triggers.types} == set(model.types)
        for trigger_id, entry in model.triggers.items():
            trigger = triggers.get(trigger_id)
            assert trigger is not None
            assert (trigger.bound.owner.id if trigger.bound else None) == (entry.bound.name if entry.bound else None)
        counts = triggers.statistics()
        assert (counts.types, counts.bound) == (len(model.types), len(triggers.live))
        assert counts.bound + counts.parked == len(model.triggers)

    @invariant()
    def indexes_hold_what_there_is(self) -> None:
        triggers = self.triggers
        assert set(triggers._wanted._keys) == set(self.model.triggers)
        assert all(triggers._wanted._triggers.values())
        served = [trigger for kind in triggers.types for trigger in kind.triggers.values()]
        assert sorted(trigger.id for trigger in served) == sorted(trigger.id for trigger in triggers.live)
        for worker in self.workers:
            owned = {entry.id for entry in self.model.triggers.values() if entry.registrant == worker.id}
            assert set(worker.triggers) == owned

    def teardown(self) -> None:
        for running in self.serving.values():
            running.close()


TriggerRegistryMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_the_registry_answers_as_one_without_indexes = TriggerRegistryMachine.TestCase
