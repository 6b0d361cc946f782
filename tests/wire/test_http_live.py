"""The http module and its configuration entry: what is stored, what is in force, and what changes while it runs (http.md 3.4)."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from http_rig import Answer, Client
from serve_process import DEADLINE, environment, serving
from wire_client import Client as Worker
from wire_client import World, open_world

from iii_trio.kernel import Call, Function, Kernel, ModuleOwner, Trigger, TrioClock
from iii_trio.modules.http import HttpConfig, HttpModule
from iii_trio.modules.http.entry import http_entry
from iii_trio.protocol import Payload
from iii_trio.settings import json_schema, structure_config
from iii_trio.testing import MemoryNetwork
from tests.process import free_port

BLOCK = {"host": "127.0.0.1", "port": 0}


@attrs.define
class Shop:
    """An engine with an http module, a worker that changes its entry, and clients of its port."""

    world: World
    worker: Worker

    @property
    def port(self) -> int:
        return self.world.engine.addresses["http"][1]

    async def connect(self, port: int | None = None) -> Client:
        stream = await trio.open_tcp_stream("127.0.0.1", port or self.port)
        self.world.streams.append(stream)
        return Client(stream)

    async def ask(self, path: str = "/a", headers: dict[str, str] | None = None) -> Answer:
        return await (await self.connect()).ask("GET", path, headers)

    async def put(self, **value: Any) -> None:
        """Change the entry; returns when the module has been told of it and has answered."""
        entry = {"id": "iii-http", "value": {**BLOCK, **value}}
        await self.worker.value("configuration::set", entry)
        assert await self.worker.value("iii-http::on-config-change") == {"ok": True}  # one after the other

    async def stored(self) -> Any:
        return (await self.worker.value("configuration::get", {"id": "iii-http", "raw": True}))["value"]

    def route(self, path: str, handler: Callable[[Any], Any]) -> None:
        async def answer(payload: Any) -> Any:
            return await handler(payload)

        self.world.engine.register(f"f::{path}", answer)
        config = Payload.of({"api_path": path})
        self.world.engine.kernel.triggers.add(Trigger(f"t::{path}", "http", f"f::{path}", config=config))


@asynccontextmanager
async def open_shop(
    directory: Path | None = None, block: Mapping[str, Any] = BLOCK, **options: Any
) -> AsyncIterator[Shop]:
    entries: list[Any] = [{"name": "iii-http", "config": dict(block)}]
    if directory is not None:
        adapter = {"name": "fs", "config": {"directory": str(directory)}}
        entries.append({"name": "configuration", "config": {"adapter": adapter}})
    async with open_world({"workers": entries}, **options) as world:
        shop = Shop(world, await world.connect())
        shop.route("a", _plain)
        yield shop


async def _plain(_: Any) -> Any:
    return {"body": "here"}


async def wait_refused(port: int) -> None:
    """Wait until nobody listens there."""
    try:
        while True:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.aclose()
            await trio.sleep(0.02)
    except OSError:
        return


# --- what is stored ---------------------------------------------------------------------------------------------------


async def test_the_block_is_stored_and_a_later_value_outlives_a_restart(tmp_path: Path) -> None:
    # http 7
    async with open_shop(tmp_path) as shop:
        assert await shop.stored() == BLOCK
        assert (tmp_path / "iii-http.yaml").exists()
        await shop.put(default_timeout=0)
        assert (await shop.ask()).status == 504  # http 8
    async with open_shop(tmp_path) as shop:
        assert await shop.stored() == {**BLOCK, "default_timeout": 0}
        assert (await shop.ask()).status == 504


async def test_the_last_change_wins_wherever_it_is_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # http 7
    caplog.set_level(logging.INFO)
    async with open_shop(tmp_path) as shop:
        await shop.put(default_timeout=0)
    caplog.clear()
    async with open_shop(tmp_path) as shop:
        assert "the stored value is in force, not its block" in caplog.text
        assert (await shop.ask()).status == 504
    caplog.clear()
    async with open_shop(tmp_path, {**BLOCK, "default_timeout": 9_000}) as shop:
        assert "its block in the configuration file has changed and is in force now" in caplog.text
        assert await shop.stored() == {**BLOCK, "default_timeout": 9_000}
        assert (await shop.ask()).status == 200
    caplog.clear()
    async with open_shop(tmp_path, {**BLOCK, "default_timeout": 9_000}) as shop:
        assert "its block" not in caplog.text
    async with open_shop(tmp_path, {}) as shop:  # says nothing, so it changes nothing
        assert await shop.stored() == {**BLOCK, "default_timeout": 9_000}


async def test_without_a_block_the_defaults_are_stored(tmp_path: Path) -> None:
    # http 7
    port = free_port()
    (tmp_path / "iii-http.yaml").write_text(f"value: {{host: 127.0.0.1, port: {port}}}\n")
    async with open_shop(tmp_path, {}) as shop:
        assert shop.port == port  # of another engine, say: what is stored counts
    entry = http_entry(HttpConfig(), None, {}, lambda value: structure_config(HttpConfig, value))
    assert (entry.initial["port"], entry.initial["host"], entry.initial["default_timeout"]) == (3111, "0.0.0.0", 30_000)
    assert structure_config(HttpConfig, entry.initial) == HttpConfig()
    assert entry.block is None


async def test_a_block_that_is_written_later_is_a_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # http 7
    caplog.set_level(logging.INFO)
    block = {"host": "127.0.0.1", "port": 4711}
    async with open_shop(tmp_path, {}, network=MemoryNetwork()) as shop:
        assert shop.world.engine.addresses["http"] == ("0.0.0.0", 3111)
    async with open_shop(tmp_path, block, network=MemoryNetwork()) as shop:
        assert "its block in the configuration file has changed and is in force now" in caplog.text
        assert shop.world.engine.addresses["http"] == ("127.0.0.1", 4711)
        assert await shop.stored() == block
    for said in ({}, block):  # nothing, or what it said before
        async with open_shop(tmp_path, said, network=MemoryNetwork()) as shop:
            assert await shop.stored() == block


async def test_a_limit_of_zero_is_served_as_one_and_refused_at_run_time(caplog: pytest.LogCaptureFixture) -> None:
    # http 6
    async with open_shop(block={**BLOCK, "concurrency_request_limit": 0}) as shop:
        assert (await shop.ask()).status == 200
        assert (await shop.stored())["concurrency_request_limit"] == 1
        wrong = {"id": "iii-http", "value": {**BLOCK, "concurrency_request_limit": 0}}
        assert (await shop.worker.error("configuration::set", wrong))["code"] == "SCHEMA_INVALID"


async def test_middleware_and_the_description_come_and_go() -> None:
    async with open_shop() as shop:

        async def refuse(_: Any) -> Any:
            return {"action": "respond", "response": {"status_code": 401}}

        shop.world.engine.register("edge::auth", refuse)
        assert [(await shop.ask(path)).status for path in ("/a", "/openapi.json")] == [200, 404]
        await shop.put(middleware=[{"function_id": "edge::auth"}])
        assert (await shop.ask()).status == 401
        await shop.put(openapi=True)
        assert [(await shop.ask(path)).status for path in ("/a", "/openapi.json")] == [200, 200]
        await shop.put()
        assert [(await shop.ask(path)).status for path in ("/a", "/openapi.json")] == [200, 404]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prot": 1},
        {"port": 65_536},
        {"port": "x"},
        {"cors": {"allowed": []}},
        {"cors": {"allowed_origins": "*"}},
        {"default_timeout": -1},
        {"middleware": [{"priority": 5}]},
        {"middleware": [{"function_id": "edge::auth", "zzz": 1}]},
        {"request_id_header": "no header"},
    ],
)
async def test_what_the_file_could_not_say_is_refused_at_run_time(wrong: dict[str, Any]) -> None:
    # http 3, 6
    async with open_shop() as shop:
        error = await shop.worker.error("configuration::set", {"id": "iii-http", "value": {**BLOCK, **wrong}})
        assert error["code"] == "SCHEMA_INVALID"
        assert await shop.stored() == BLOCK
        assert (await shop.ask()).status == 200


def test_the_schema_says_everything_about_every_key() -> None:
    schema = json_schema(HttpConfig)
    assert set(schema["properties"]) == {field.name for field in attrs.fields(HttpConfig)}
    assert all(said["description"] for said in schema["properties"].values())
    assert schema["additionalProperties"] is schema["properties"]["cors"]["additionalProperties"] is False
    assert schema["properties"]["concurrency_request_limit"]["minimum"] == 1


# --- what changes at once ---------------------------------------------------------------------------------------------


async def test_settings_change_under_an_open_connection() -> None:
    # http 8
    async with open_shop() as shop:
        client = await shop.connect()
        port = shop.port
        assert (await client.ask("GET", "/a", {"origin": "https://a"}))["access-control-allow-origin"] == "*"
        await shop.put(cors={"allowed_origins": ["https://b"]}, body_limit=2)
        answer = await client.ask("GET", "/a", {"origin": "https://a"})
        assert (answer.status, answer.all("access-control-allow-origin")) == (200, [])
        assert (await (await shop.connect()).ask("GET", "/a", body=b"abc")).status == 413
        await shop.put(default_timeout=0)
        assert (await client.ask("GET", "/a")).status == 504
        await shop.put()
        assert (await client.ask("GET", "/a")).status == 200
        assert shop.port == port


async def test_a_request_keeps_the_settings_it_began_with() -> None:
    # http 8
    async with open_shop() as shop:
        started, go = trio.Event(), trio.Event()

        async def slow(_: Any) -> Any:
            started.set()
            await go.wait()
            return {"body": 1}

        shop.route("slow", slow)
        client = await shop.connect()
        await client.send(b"GET /slow HTTP/1.1\r\nhost: h\r\norigin: https://a\r\n\r\n")
        await started.wait()
        await shop.put(default_timeout=0, cors={"allowed_origins": ["https://b"]})
        go.set()
        answer = await client.read()
        assert (answer.status, answer["access-control-allow-origin"]) == (200, "*")


async def test_slots_are_shared_across_a_change_of_something_else() -> None:
    # http 8
    async with open_shop(block={**BLOCK, "concurrency_request_limit": 1}) as shop:
        started, go = trio.Event(), trio.Event()

        async def slow(_: Any) -> Any:
            started.set()
            await go.wait()
            return {"body": 1}

        shop.route("slow", slow)
        first, second = await shop.connect(), await shop.connect()
        await first.send(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
        await started.wait()
        await shop.put(concurrency_request_limit=1, default_timeout=29_000)
        await second.send(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n")
        with trio.move_on_after(0.1) as waits:
            await second.read()
        assert waits.cancelled_caught
        await shop.put(concurrency_request_limit=2)
        assert (await shop.ask()).status == 200
        go.set()
        assert (await first.read()).status == 200
        assert (await second.read()).status == 200


# --- another address --------------------------------------------------------------------------------------------------


async def test_another_port_opens_and_the_old_one_closes() -> None:
    # http 9
    async with open_shop() as shop:
        started, go = trio.Event(), trio.Event()

        async def slow(_: Any) -> Any:
            started.set()
            await go.wait()
            return {"body": "finished"}

        shop.route("slow", slow)
        former = shop.port
        idle, busy = await shop.connect(), await shop.connect()
        assert (await idle.ask("GET", "/a")).status == 200
        await busy.send(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
        await started.wait()
        later = free_port()
        await shop.put(port=later)
        assert shop.port == later
        assert (await shop.ask()).json == "here"  # routes of connected workers answer on the new port
        with trio.fail_after(5):
            assert await idle.ends()
            await wait_refused(former)
        go.set()
        assert (await busy.read()).json == "finished"
        assert (await shop.ask()).status == 200


async def test_another_port_by_hand(tmp_path: Path) -> None:
    # http 9
    async with open_shop(tmp_path) as shop:
        former, later = shop.port, free_port()
        file = tmp_path / "iii-http.yaml"
        value, seed, rest = file.read_text().partition("seed:")
        file.write_text(value.replace("port: 0", f"port: {later}") + seed + rest)
        with trio.fail_after(DEADLINE):
            await wait_refused(former)
        assert shop.port == later
        assert (await shop.ask()).status == 200


async def test_a_port_in_use_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    # http 10
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with taken, open_shop() as shop:
        former = shop.port
        await shop.put(port=taken.socket.getsockname()[1], default_timeout=0)
        assert shop.port == former
        assert (await shop.ask()).status == 200
        assert "is already in use" in caplog.text
        assert "keeps its address and all its settings" in caplog.text
        await shop.put(default_timeout=0)
        assert (await shop.ask()).status == 504


async def test_a_server_of_another_kind_comes_with_another_address(caplog: pytest.LogCaptureFixture) -> None:
    # http 8, 9
    async with open_shop() as shop:
        await shop.put(server="hypercorn", default_timeout=0)
        assert "take effect with another address, or when it is started again: server" in caplog.text
        assert (await shop.ask()).status == 504  # all else is in force
        await shop.put(server="hypercorn", port=free_port())
        assert (await shop.ask()).status == 200
        wrong = {"cert_file": "/no/such", "key_file": "/no/such"}
        former = shop.port
        await shop.put(server="hypercorn", port=free_port(), tls=wrong)
        assert shop.port == former
        assert (await shop.ask()).status == 200
        assert "keeps its address and all its settings" in caplog.text


async def test_placeholders_are_kept_and_put_in() -> None:
    # http 12
    port = free_port()
    async with open_shop(env={"HTTP_HOST": "127.0.0.1"}) as shop:
        await shop.put(port=f"${{X:{port}}}", host="${HTTP_HOST}")
        assert shop.port == port
        assert (await shop.ask()).status == 200
        assert await shop.stored() == {"port": f"${{X:{port}}}", "host": "${HTTP_HOST}"}
        await shop.put(port="${UNSET_PORT}")  # taken, and of no use
        assert shop.port == port
        assert (await shop.ask()).status == 200


async def test_a_restart_of_either_module_keeps_what_was_changed() -> None:
    async with open_shop() as shop:
        later = free_port()
        await shop.put(port=later)
        for name in ("iii-http", "configuration", "iii-http"):
            with shop.world.engine.events.open() as feed:
                assert shop.world.engine.kill(f"modules/{name}/logic")
                with trio.fail_after(5):
                    while (await feed.channel.receive()).kind != "restarted":
                        pass
            assert shop.port == later
            assert (await shop.ask()).status == 200
        await shop.put(port=later, default_timeout=0)
        assert (await shop.ask()).status == 504


# --- a stored address that cannot be bound ----------------------------------------------------------------------------


async def test_a_stored_address_that_cannot_be_bound_gives_way_to_the_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # http 11
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = taken.socket.getsockname()[1]
    (tmp_path / "iii-http.yaml").write_text(f"value: {{host: 127.0.0.1, port: {port}, default_timeout: 0}}\n")
    async with taken, open_shop(tmp_path) as shop:
        assert "the address in the configuration file is used" in caplog.text
        assert shop.port != port
        assert (await shop.ask()).status == 504  # all else is as stored


async def test_it_does_not_give_way_to_a_wider_one(tmp_path: Path) -> None:
    # http 11
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = taken.socket.getsockname()[1]
    (tmp_path / "iii-http.yaml").write_text(f"value: {{host: 127.0.0.1, port: {port}}}\n")
    async with taken:
        with pytest.raises(Exception, match="iii-http") as failed:
            async with open_shop(tmp_path, {"host": "0.0.0.0", "port": free_port()}):
                pass
        assert f"127.0.0.1:{port} is already in use" in str(failed.value.__cause__)


# --- without the configuration module ---------------------------------------------------------------------------------


class Refusing:
    """A network whose addresses are all free."""

    async def open_listeners(self, host: str, port: int) -> list[trio.SocketListener]:
        return await trio.open_tcp_listeners(port, host=host)

    def port_of(self, listeners: Any) -> int:
        port: int = listeners[0].socket.getsockname()[1]
        return port


@asynccontextmanager
async def alone(answer: Callable[[Call], Any] | None) -> AsyncIterator[Kernel]:
    """A kernel and an http module with an entry, where `configuration::*` is answered so (None: is not there)."""
    kernel, owner = Kernel(clock=TrioClock()), ModuleOwner("http", "iii-http")
    if answer is not None:
        for name in ("get", "register"):
            kernel.functions.add(Function(f"configuration::{name}", ModuleOwner("c", "c"), handler=answer))
    config = HttpConfig(**BLOCK)
    live = http_entry(config, BLOCK, json_schema(HttpConfig), lambda value: structure_config(HttpConfig, value))
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.invocations.run)
        await nursery.start(HttpModule(config, owner, Refusing(), live=live).run, kernel)
        yield kernel
        nursery.cancel_scope.cancel()


async def hang(_: Call) -> None:
    await trio.sleep_forever()


async def nonsense(_: Call) -> Any:
    return [1]


async def wrong_value(call: Call) -> Any:
    return {"id": "iii-http", "value": {"port": "x"}}


@pytest.mark.parametrize("answer", [None, nonsense, wrong_value])
async def test_without_a_usable_answer_the_block_counts(
    answer: Callable[[Call], Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    # http 13
    async with alone(answer) as kernel:
        host, port = kernel.services.get("http_address")  # type: ignore[misc]
        client = Client(await trio.open_tcp_stream(host, port))
        assert (await client.ask("GET", "/a")).status == 404
        await trio.aclose_forcefully(client.stream)
    assert "iii-http runs with what the configuration file says" in caplog.text


async def test_a_configuration_module_that_hangs_delays_the_start_by_ten_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # http 13
    before = trio.current_time()
    async with alone(hang):
        assert 10 <= trio.current_time() - before < 20


async def test_a_reading_that_takes_too_long_is_tried_once_more(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = []

    async def slow_later(call: Call) -> Any:
        if not answers or call.function_id.endswith("register"):
            return {"id": "iii-http", "value": BLOCK}
        answer = answers.pop(0)
        return await answer(call) if callable(answer) else answer

    async with alone(slow_later) as kernel:
        for left in ([hang, {"value": {**BLOCK, "default_timeout": 0}}], [hang, hang]):
            answers[:] = left
            before = trio.current_time()
            assert (await kernel.bus.invoke("iii-http::on-config-change")).value == {"ok": True}
            assert trio.current_time() - before in (15, 25)
    assert caplog.text.count("asks once more in 5 s") == 2
    assert caplog.text.count("iii-http keeps its settings") == 1


async def test_without_an_entry_nothing_is_asked(autojump_clock: trio.testing.MockClock) -> None:
    kernel = Kernel(clock=TrioClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.invocations.run)
        await nursery.start(HttpModule(HttpConfig(**BLOCK), ModuleOwner("h", "h"), Refusing()).run, kernel)
        assert kernel.functions.find("default", "iii-http::on-config-change") is None
        nursery.cancel_scope.cancel()


# --- the program ------------------------------------------------------------------------------------------------------


async def test_a_killed_engine_has_kept_every_acknowledged_value(tmp_path: Path) -> None:
    # config 50
    file = tmp_path / "my.yaml"
    file.write_text("{workers: [{name: iii-worker-manager, config: {host: 127.0.0.1}}]}")
    port = free_port()
    words = ("--config", str(file), "--port", str(port))
    async with serving(*words, cwd=tmp_path) as engine:
        await engine.lines_until("Engine listening")
        entry = '{"id": "shop", "name": "S", "description": "", "schema": {}, "initial_value": 0}'
        await _trigger(port, "configuration::register", entry)
        for number in range(3):
            await _trigger(port, "configuration::set", f'{{"id": "shop", "value": {number}}}')
        engine.process.kill()
        await engine.wait()
    async with serving(*words, cwd=tmp_path) as engine:
        await engine.lines_until("Engine listening")
        assert '"value": 2' in await _trigger(port, "configuration::get", '{"id": "shop"}')
    assert [path.name for path in (tmp_path / "config").iterdir()] == ["shop.yaml"]


async def _trigger(port: int, function_id: str, payload: str) -> str:
    import subprocess
    import sys

    words = ["trigger", function_id, "--json", payload, "--port", str(port), "--address", "127.0.0.1"]
    done = await trio.run_process(
        [sys.executable, "-m", "iii_trio", *words], capture_stdout=True, stderr=subprocess.STDOUT, env=environment()
    )
    return done.stdout.decode()
