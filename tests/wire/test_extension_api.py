"""Modules of other people: phases, functions, triggers, adapters, builder (config-cli-modules 9, checklist 21-24, 51-56)."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self

import attrs
import pytest
import trio
import trio.testing
from no_network import NoNetwork

from actors import StartError
from examples.custom_event_module import CustomEventModule
from iii_trio import EngineBuilder
from iii_trio.engine import Engine, open_engine, resolve_settings
from iii_trio.modules import (
    ConfigurableModule,
    CoreModule,
    Deferred,
    Failure,
    Module,
    ModuleCatalogue,
    ModuleEngine,
    ModuleFailed,
    ModuleRegistration,
    NoResult,
    RegisterFunctionRequest,
    Success,
    Trigger,
    TriggerType,
    register_adapter,
    register_module,
)
from iii_trio.protocol import ErrorBody
from iii_trio.protocol.errors import ConfigError, IIIError, InvocationError
from iii_trio.serving import StartFailed
from iii_trio.worker import Worker, connect

LISTENER = {"name": "iii-worker-manager", "config": {"host": "127.0.0.1"}}
EVENTS = {"class": "my::CustomEventModule"}
LOGGED_EVENTS = {
    "class": "my::CustomEventModule",
    "config": {
        "adapter": {"class": "my::LoggingEventAdapter", "config": {"inner_adapter": "my::InMemoryEventAdapter"}}
    },
}


def running(*entries: Mapping[str, Any], **options: Any) -> AbstractAsyncContextManager[Engine]:
    return open_engine({"modules": [LISTENER, *entries]}, port=0, **options)


def sdk(engine: Engine) -> AbstractAsyncContextManager[Worker]:
    """A worker over a socket."""
    return connect(f"ws://127.0.0.1:{engine.address[1]}")


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Poll for what comes by itself."""
    with trio.fail_after(10):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await trio.sleep(0.005)


async def code_of(call: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(InvocationError) as error:
        await call
    return error.value.code, error.value.message


# --- the worked example (9.3) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [EVENTS, LOGGED_EVENTS], ids=["default adapter", "logging adapter"])
async def test_an_event_reaches_the_functions_that_subscribed(
    entry: Mapping[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    heard: list[Any] = []
    async with running(entry) as engine, sdk(engine) as worker:

        @worker.function("orders::audit")
        async def audit(data: Any) -> None:
            data.pop("_caller_worker_id", None)
            heard.append(data)

        await worker.register_trigger("event", "orders::audit", {"subscribes": ["t", "u"]})

        async def delivered() -> bool:
            answer = await worker.trigger("custom::emit", {"topic": "t", "data": {"n": 1}})
            return bool(answer["delivered"])

        await until(delivered)  # config 51
        assert heard == [{"n": 1}]
        assert (await worker.trigger("custom::emit", {"topic": "other", "data": 2}))["delivered"] == 0
        code, message = await code_of(worker.trigger("custom::emit", {"data": 3}))
        assert (code, message) == ("missing_topic", "Missing 'topic'")
    logged = [record.message for record in caplog.records if record.name == "iii_trio.examples.events"]
    if entry is LOGGED_EVENTS:  # config 52
        assert logged[0] == "orders::audit subscribes to ['t', 'u']"
        assert "event t" in logged
    else:
        assert logged == []


REFUSED = [
    ({}, "Missing 'subscribes' array"),
    ({"subscribes": "t"}, "Missing 'subscribes' array"),
    ({"subscribes": ["t", 5]}, "Invalid topic"),
]


@pytest.mark.parametrize(("config", "text"), REFUSED)
async def test_a_trigger_that_makes_no_sense_is_refused(config: Any, text: str) -> None:
    async with running(EVENTS) as engine, sdk(engine) as worker:
        handle = await worker.register_trigger("event", "f", config)  # config 51
        await until(lambda: bool(worker.trigger_errors))
        (error,) = worker.trigger_errors
        assert (error.trigger_id, error.error.message) == (handle.id, text)
        assert engine.kernel.triggers.get(handle.id) is None


async def test_a_trigger_that_ends_is_no_longer_served() -> None:
    async with running(EVENTS) as engine, sdk(engine) as worker:

        async def count() -> int:
            number: int = (await worker.trigger("custom::emit", {"topic": "t"}))["delivered"]
            return number

        worker.register_function("f", lambda_handler)
        handle = await worker.register_trigger("event", "f", {"subscribes": ["t"]})

        async def served() -> bool:
            return await count() == 1

        async def ended() -> bool:
            return await count() == 0

        await until(served)
        await handle.unregister()
        await until(ended)


async def lambda_handler(_: Any) -> None:
    return None


async def test_an_adapter_that_does_not_exist_is_named_with_those_that_do() -> None:
    entry = {"class": "my::CustomEventModule", "config": {"adapter": {"class": "nope"}}}
    with pytest.raises(StartError) as failure:
        async with running(entry):
            pass
    assert "Adapter factory 'nope' not found. Available: [" in str(root_of(failure.value))  # config 10
    assert "my::InMemoryEventAdapter" in str(root_of(failure.value))


async def test_an_unknown_key_of_a_module_is_refused() -> None:
    with pytest.raises(StartError) as failure:
        async with running({"class": "my::CustomEventModule", "config": {"max_topic": 1}}):
            pass
    assert "max_topic" in str(root_of(failure.value))


def root_of(error: BaseException) -> BaseException:
    while error.__cause__ is not None and not isinstance(error, ModuleFailed):
        error = error.__cause__
    return error


# --- results (9.2) ----------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Probe(Module):
    """A module that does what its test says."""

    engine: ModuleEngine
    config: Mapping[str, Any]
    asked: list[tuple[str, str]] = attrs.field(factory=list)

    def name(self) -> str:
        return "probe"

    @classmethod
    async def create(cls, engine: ModuleEngine, config: Mapping[str, Any] | None) -> Self:
        return cls(engine, config or {})

    async def initialize(self) -> None:
        if self.config.get("fails") == "initialize":
            raise RuntimeError("not today")
        self.engine.services.register("probe", self)

    async def register_functions(self, engine: ModuleEngine) -> None:
        if self.config.get("fails") == "register":
            raise RuntimeError("no functions")
        for name, handler in self.handlers().items():
            engine.register_function(RegisterFunctionRequest(f"probe::{name}", f"Does {name}."), handler)

    def handlers(self) -> dict[str, Any]:
        async def value(_: Any) -> Any:
            return {"plain": True}

        async def success(_: Any) -> Any:
            return Success({"n": 1})

        async def nothing(_: Any) -> Any:
            return Success(None)

        async def no_result(_: Any) -> Any:
            return NoResult()

        async def failure(_: Any) -> Any:
            return Failure(ErrorBody("BROKEN", "it is broken", "line 1"))

        async def raises(_: Any) -> Any:
            raise ValueError("just so")

        async def calls(payload: Any) -> Any:
            return await self.engine.call(payload["function"], payload["with"])

        return {
            "value": value,
            "success": success,
            "nothing": nothing,
            "no_result": no_result,
            "failure": failure,
            "raises": raises,
            "calls": calls,
            "deferred": self,
        }

    async def handle_function(self, invocation_id: str, function_id: str, _: Any) -> Any:
        """The long form of a handler."""
        self.asked.append((invocation_id, function_id))
        return Deferred()

    async def start_background_tasks(self, shutdown: trio.Event, nursery: trio.Nursery) -> None:
        if self.config.get("fails") == "background":
            raise RuntimeError("no background")
        if self.config.get("fails") == "task":
            nursery.start_soon(self._crash)

    async def _crash(self) -> None:
        await self.engine.services.get("crash").wait()
        raise RuntimeError("the task crashed")

    async def destroy(self) -> None:
        DESTROYED.append(self.config.get("as", "probe"))
        if self.config.get("fails") == "destroy":
            raise RuntimeError("cannot end")


DESTROYED: list[str] = []
register_module("test::Probe")(Probe)
PROBE = {"name": "test::Probe"}


def probe(**config: Any) -> dict[str, Any]:
    return {"name": "test::Probe", "config": config}


RESULTS = [("value", {"plain": True}), ("success", {"n": 1}), ("nothing", None), ("no_result", None)]


@pytest.mark.parametrize(("name", "result"), RESULTS)
async def test_results_of_module_functions(name: str, result: Any) -> None:
    async with running(PROBE) as engine, sdk(engine) as worker:
        assert await worker.trigger(f"probe::{name}") == result  # config 53


ERRORS = [("failure", ("BROKEN", "it is broken")), ("raises", ("invocation_failed", "just so"))]


@pytest.mark.parametrize(("name", "error"), ERRORS)
async def test_errors_of_module_functions(name: str, error: tuple[str, str]) -> None:
    async with running(PROBE) as engine, sdk(engine) as worker:
        assert await code_of(worker.trigger(f"probe::{name}")) == error  # config 53


@pytest.mark.parametrize("fails", [False, True])
async def test_a_deferred_result_comes_later(fails: bool) -> None:
    outcomes: list[Any] = []
    async with running(PROBE) as engine, sdk(engine) as worker, trio.open_nursery() as nursery:
        module = engine.kernel.services.get("probe")

        async def ask() -> None:
            try:
                outcomes.append(await worker.trigger("probe::deferred"))
            except InvocationError as error:
                outcomes.append(error.code)

        nursery.start_soon(ask)
        await until(lambda: bool(module.asked))
        ((invocation_id, function_id),) = module.asked
        assert function_id == "probe::deferred"
        assert outcomes == []
        error = InvocationError("too late", code="LATE") if fails else None
        assert module.engine.resolve(invocation_id, {"later": True}, error)  # config 53
        await until(lambda: bool(outcomes))
        assert outcomes == (["LATE"] if fails else [{"later": True}])
        assert not module.engine.resolve(invocation_id)  # nobody waits any more


async def test_a_module_calls_functions_of_workers() -> None:
    async with running(PROBE) as engine, sdk(engine) as worker:

        @worker.function("double")
        async def double(payload: Any) -> int:
            if not isinstance(payload["n"], int):
                raise InvocationError("not a number", code="NAN")
            return int(payload["n"]) * 2

        call = {"function": "double", "with": {"n": 21}}
        assert await worker.trigger("probe::calls", call) == 42  # config 56
        call["with"] = {"n": "x"}
        assert await code_of(worker.trigger("probe::calls", call)) == ("NAN", "not a number")
        module = engine.kernel.services.get("probe")
        assert (await code_of(module.engine.call("missing")))[0] == "function_not_found"


async def test_functions_of_modules_are_listed_and_withdrawn() -> None:
    async with running(PROBE) as engine:
        module = engine.kernel.services.get("probe")
        listed = await engine.invoke("engine::functions::list", {"prefix": "probe::"})
        assert "probe::value" in [row["function_id"] for row in listed["functions"]]
        info = await engine.invoke("engine::functions::info", {"function_id": "probe::value"})
        assert info["description"] == "Does value."
        assert module.engine.unregister_function("probe::value")
        assert not module.engine.unregister_function("probe::value")
        assert (await code_of(engine.invoke("probe::value")))[0] == "function_not_found"


# --- phases (2.1) -----------------------------------------------------------------------------------------------------

STARTS = [
    (probe(fails="initialize"), "failed to initialize module 'test::Probe#1': not today"),  # config 21
    (probe(fails="register"), "failed to register functions of module 'test::Probe#1': no functions"),
]


@pytest.mark.parametrize(("entry", "text"), STARTS)
async def test_a_phase_that_fails_ends_the_start(entry: dict[str, Any], text: str) -> None:
    DESTROYED.clear()
    with pytest.raises(StartError) as failure:
        async with running(probe(**{"as": "first"}), entry):
            pass
    assert str(root_of(failure.value)) == text
    assert DESTROYED == ["probe", "first"]  # what was created is destroyed


async def test_background_tasks_that_cannot_be_started_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with running(probe(fails="background")) as engine:
        await until(lambda: any("background" in record.message for record in caplog.records))
        assert await engine.invoke("probe::value") == {"plain": True}  # config 22
    (record,) = [record for record in caplog.records if "background" in record.message]
    assert record.levelname == "WARNING"
    assert record.getMessage() == "Failed to start background tasks for module test::Probe: no background"


async def test_a_background_task_that_crashes_restarts_its_module() -> None:
    crash = trio.Event()
    async with running(probe(fails="task"), EVENTS) as engine, sdk(engine) as worker:
        engine.kernel.services.register("crash", crash)
        before = engine.kernel.services.get("probe")
        await until(lambda: crash.statistics().tasks_waiting == 1)
        crash.set()
        engine.kernel.services.register("crash", trio.Event())  # the next incarnation lives
        await until(lambda: engine.kernel.services.get("probe") is not before)
        assert await worker.trigger("engine::functions::list", {}) is not None  # nobody else noticed


async def test_every_module_is_destroyed_even_if_one_fails(caplog: pytest.LogCaptureFixture) -> None:
    DESTROYED.clear()
    entries = [probe(**{"as": "a"}), probe(**{"as": "b"}, fails="destroy"), probe(**{"as": "c"})]
    async with running(*entries) as engine:
        pass
    assert DESTROYED == ["c", "b", "a"]  # config 24
    (failure,) = engine.destroy_failures
    assert str(failure) == "failed to destroy module 'test::Probe#1': cannot end"
    assert str(failure) in [record.getMessage() for record in caplog.records]


async def test_a_module_that_does_not_end_is_cut_off(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Endless(Probe):
        async def destroy(self) -> None:
            await trio.sleep_forever()

    catalogue = ModuleCatalogue()
    catalogue.add_module(_registration("k::Endless", Endless))
    async with open_engine({"modules": [LISTENER, {"name": "k::Endless"}]}, catalogue=catalogue, network=NoNetwork()):
        before = trio.current_time()
    assert trio.current_time() - before == pytest.approx(2, abs=0.1)
    assert "module k::Endless did not finish destroy within 2 s" in [record.getMessage() for record in caplog.records]


async def test_the_http_port_in_use_names_the_module() -> None:
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with taken:
        port = taken.socket.getsockname()[1]
        with pytest.raises(StartError) as failure:
            async with running({"name": "iii-http", "config": {"host": "127.0.0.1", "port": port}}):
                pass
    message = str(root_of(failure.value))  # config 20
    assert message.startswith(f"failed to initialize module 'iii-http': address 127.0.0.1:{port} is already in use")


# --- the builder (9.4) ------------------------------------------------------------------------------------------------


async def serve(nursery: trio.Nursery, builder: EngineBuilder) -> Engine:
    engine: Engine = await nursery.start(builder.serve)
    return engine


async def test_a_builder_without_a_file_serves() -> None:
    async def hello(payload: Any) -> str:
        return f"hello {payload['name']}"

    builder = await EngineBuilder().add_module("test::Probe", {"as": "built"}).address("127.0.0.1:0").build()
    handle = builder.engine_handle()
    handle.register("hello", hello)  # before it serves
    with pytest.raises(RuntimeError, match="not running yet"):
        await handle.invoke("hello")
    async with trio.open_nursery() as nursery:
        engine = await serve(nursery, builder)  # config 54
        assert engine is handle
        assert handle.address[0] == "127.0.0.1"
        assert await handle.invoke("hello", {"name": "Ada"}) == "hello Ada"
        async with sdk(handle) as worker:
            assert await worker.trigger("probe::value") == {"plain": True}
        handle.request_stop()
    with pytest.raises(RuntimeError, match="build"):
        await builder.serve()


async def test_a_builder_can_build_again() -> None:
    builder = await EngineBuilder().with_config({"workers": [LISTENER]}).address("127.0.0.1:0").build()
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            engine = await serve(nursery, builder)
            assert await engine.invoke("engine::functions::list", {"prefix": "test::"}) == {"functions": []}
            engine.request_stop()
        await builder.build()


async def test_what_was_not_configured_cannot_be_built() -> None:
    with pytest.raises(ConfigError, match="nothing is configured"):  # config 54
        await EngineBuilder().build()
    with pytest.raises(ConfigError, match="Unknown module class: my::Nothing"):
        await EngineBuilder().add_module("my::Nothing").build()
    with pytest.raises(RuntimeError, match="build"):
        EngineBuilder().engine_handle()


async def test_a_builder_destroyed_does_not_serve() -> None:
    DESTROYED.clear()
    builder = await EngineBuilder().add_module("test::Probe").build()
    await builder.destroy()
    with pytest.raises(RuntimeError, match="destroyed"):
        await builder.serve()
    assert DESTROYED == []  # nothing had been created


async def test_destroy_ends_a_builder_that_serves() -> None:
    builder = await EngineBuilder().add_module("test::Probe").address("127.0.0.1:0").build()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await serve(nursery, builder)
            await builder.destroy()


async def test_the_builder_fails_like_the_command() -> None:
    builder = await EngineBuilder().add_module("test::Probe", {"fails": "initialize"}).build()
    with pytest.raises(StartFailed, match="failed to initialize module 'test::Probe': not today"):
        await builder.serve()
    builder = await EngineBuilder().add_module("test::Probe", {"fails": "destroy"}).address("127.0.0.1:0").build()
    errors: list[str] = []

    async def serve_badly(*, task_status: trio.TaskStatus[Engine]) -> None:
        try:
            await builder.serve(task_status=task_status)
        except IIIError as error:
            errors.append(str(error))

    async with trio.open_nursery() as nursery:
        engine = await nursery.start(serve_badly)
        engine.request_stop()
    assert errors == ["failed to destroy module 'test::Probe': cannot end"]  # config 24


async def test_modules_of_one_builder_are_its_own() -> None:
    class Own(Probe):
        pass

    first = EngineBuilder().register_module("own::Module", Own).add_module("own::Module")
    await first.build()
    with pytest.raises(ConfigError, match="own::Module"):
        await EngineBuilder().add_module("own::Module").build()


def ports(builder: EngineBuilder) -> list[tuple[str, int]]:
    """What a built engine will listen on for workers."""
    return [(config.host, config.port) for config in builder.engine_handle().composition.worker_listeners]


def modules(builder: EngineBuilder) -> list[str]:
    return [entry.instance for entry in builder.engine_handle().composition.settings.entries]


async def test_where_a_builder_takes_its_configuration_from(tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("{port: 50001, workers: [{name: 'test::Probe'}, {name: iii-cron}]}")
    for configured in (EngineBuilder().config_file(file), EngineBuilder().with_config_path(str(file))):
        built = await configured.add_worker("test::Probe", {"as": "second"}).build()
        assert ports(built) == [("0.0.0.0", 50001)]
        assert modules(built) == ["test::Probe", "test::Probe#1", "iii-http-functions", "configuration"]
        assert [entry.module for entry in built.engine_handle().composition.settings.unbuilt] == ["iii-cron"]
    assert ports(await EngineBuilder().config_file(file).address(":50002").build()) == [("0.0.0.0", 50002)]
    assert ports(await EngineBuilder().add_module("test::Probe").build()) == [("0.0.0.0", 49134)]
    default = await EngineBuilder().default_config().build()
    assert ports(default) == [("127.0.0.1", 49134)]  # config 13
    assert "iii-http" in modules(default)
    with pytest.raises(ConfigError, match="Config file not found"):
        await EngineBuilder().config_file(tmp_path / "none.yaml").build()
    with pytest.deprecated_call():
        builder = EngineBuilder().config_file_or_default(tmp_path / "none.yaml")
    assert ports(await builder.build()) == [("127.0.0.1", 49134)]


async def test_a_module_that_always_starts_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("workers: []")
    security = {"security": {"require_https": False}}
    for configured in (EngineBuilder().config_file(file), EngineBuilder().default_config(), EngineBuilder()):
        built = await configured.add_module("iii-http-functions", security).build()
        entries = built.engine_handle().composition.settings.entries
        assert [entry.config for entry in entries if entry.module == "iii-http-functions"] == [security]


@pytest.mark.parametrize(
    ("builder", "adapter"),
    [
        (EngineBuilder(), "memory"),
        (EngineBuilder().with_config({}), "memory"),
        (EngineBuilder().default_config(), "fs"),
        (EngineBuilder().with_config({"workers": [{"name": "configuration"}]}), "fs"),
    ],
)
async def test_only_an_engine_of_a_mapping_keeps_configuration_values_in_memory(
    builder: EngineBuilder, adapter: str
) -> None:
    built = await builder.add_module("test::Probe").build()
    entries = built.engine_handle().composition.settings.entries
    assert [entry.adapter.name for entry in entries if entry.adapter is not None] == [adapter]


async def test_a_module_added_to_the_defaults_takes_the_place_of_its_default_entry() -> None:
    builder = await EngineBuilder().default_config().add_module("http", {"port": 50003}).build()
    entries = builder.engine_handle().composition.settings.entries
    assert [entry.options.port for entry in entries if entry.module == "iii-http"] == [50003]


@pytest.mark.parametrize("address", ["", "localhost", "h:", "h:x", "h:65536", "h:-1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="expected host:port"):
        EngineBuilder().address(address)


async def test_modules_register_themselves_by_kind() -> None:
    catalogue = ModuleCatalogue()
    for name, kind in (("k::Default", {"default": True}), ("k::Always", {"mandatory": True}), ("k::Listed", {})):
        catalogue.add_module(_registration(name, **kind))
    async with open_engine({"modules": [LISTENER]}, port=0, catalogue=catalogue) as engine:
        with_file = [node.path for node in _module_nodes(engine)]
    settings_of_nothing = [entry.module for entry in _default_entries(catalogue)]
    assert [path for path in with_file if "k::" in path] == ["root/modules/k::Always"]
    assert [name for name in settings_of_nothing if name.startswith("k::")] == ["k::Default"]


def _registration(name: str, cls: type[Module] = Probe, **kind: bool) -> ModuleRegistration:
    return ModuleRegistration(name, cls, **kind)


def _module_nodes(engine: Engine) -> Any:
    return next(node for node in engine.tree().children if node.path == "root/modules").children


def _default_entries(catalogue: ModuleCatalogue) -> Any:
    return resolve_settings(None, catalogue, {}).entries


# --- names ------------------------------------------------------------------------------------------------------------


def test_the_names_of_earlier_documents_are_kept() -> None:
    assert CoreModule is Module
    assert ModuleEngine.register_function_handler is ModuleEngine.register_function
    assert issubclass(CustomEventModule, ConfigurableModule)


async def test_registering_again_replaces_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Twice(Probe):
        pass

    register_module("test::Twice")(Twice)
    register_module("test::Twice")(Twice)

    async def factory(_engine: ModuleEngine, _config: Any) -> object:
        return object()

    register_adapter(Twice, "a")(factory)
    register_adapter(Twice, "a")(factory)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    async with running(PROBE, probe(**{"as": "other"})) as engine:
        replaced = [record.getMessage() for record in caplog.records if "replaces" in record.getMessage()]
        assert replaced[0] == "function probe::value of test::Probe#1 replaces the one of test::Probe"
        assert await engine.invoke("probe::value") == {"plain": True}


async def test_triggers_that_came_before_their_type_are_served() -> None:
    seen: list[Trigger] = []

    class Late:
        async def register_trigger(self, trigger: Trigger) -> None:
            seen.append(trigger)

        async def unregister_trigger(self, trigger: Trigger) -> None:
            seen.remove(trigger)

    async with running(PROBE) as engine, sdk(engine) as worker:
        await worker.register_trigger("late", "f", {"a": 1}, metadata={"m": 2})
        await until(lambda: engine.kernel.triggers.statistics().parked == 1)
        module = engine.kernel.services.get("probe")
        await module.engine.register_trigger_type(TriggerType("late", Late()))
        await until(lambda: bool(seen))
        assert (seen[0].config, seen[0].metadata, seen[0].worker_id) == ({"a": 1}, {"m": 2}, worker.id)
        assert module.engine.unregister_trigger_type("late")
        assert engine.kernel.triggers.statistics().parked == 1
