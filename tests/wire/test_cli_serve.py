"""`iii-trio serve` as its user meets it: output, ports, signals, exit codes (config-cli-modules 1 to 3, 10)."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
from serve_process import serving
from trio_websocket import CloseReason, ConnectionClosed, wrap_client_stream

from iii_trio.cli import main
from tests.process import free_port

pytestmark = pytest.mark.usefixtures("loggers_as_they_were")

MODULE = """
from iii_trio.modules import Module, RegisterFunctionRequest, register_module

@register_module("shop::Greeter")
class Greeter(Module):
    def name(self):
        return "greeter"

    @classmethod
    async def create(cls, engine, config):
        self = cls()
        self.engine, self.config = engine, config or {}
        return self

    async def initialize(self):
        if self.config.get("fails"):
            raise RuntimeError("no greeting today")
        self.engine.register_function(RegisterFunctionRequest("shop::greet"), self.greet)

    async def greet(self, payload):
        return f"hello {payload['name']}"
"""


def write(folder: Path, config: Any, name: str = "engine.yaml") -> str:
    (folder / name).write_text(config if isinstance(config, str) else json.dumps(config))
    return name


def messages(lines: list[str], level: str) -> list[str]:
    """What JSON log lines of a level say; every line must be one."""
    return [line["fields"]["message"] for line in map(json.loads, lines) if line["level"] == level]


def connects(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def call(socket_: Any, function_id: str, payload: Any) -> Any:
    await socket_.send_message(
        json.dumps(
            {
                "type": "invokefunction",
                "invocation_id": "00000000-0000-4000-8000-000000000001",
                "function_id": function_id,
                "data": payload,
            }
        )
    )
    while (message := json.loads(await socket_.get_message()))["type"] != "invocationresult":
        pass
    return message


async def closing(socket_: Any) -> CloseReason | None:
    """Why the other side closes, once it does."""
    try:
        while True:
            await socket_.get_message()
    except ConnectionClosed as closed:
        return closed.reason


async def test_the_life_of_an_engine(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    second, guarded, http = free_port(), free_port(), free_port()
    config = {
        "workers": [
            {"name": "iii-worker-manager", "config": {"port": 49134, "host": "127.0.0.1"}},
            {"name": "iii-worker-manager", "config": {"port": second}},
            {"name": "iii-worker-manager", "config": {"port": guarded, "rbac": {"auth_function_id": "auth"}}},
            {"name": "iii-http", "config": {"port": http, "host": "127.0.0.1"}},
            {"name": "shop::Greeter"},
            {"class": "modules::cron::CronModule", "config": {"anything": 1}},
            {"name": "iii-observability", "config": {"format": "json"}},
        ]
    }
    file = write(tmp_path, config)
    async with serving("--config", file, "--port", "0", "--load", "shop", cwd=tmp_path) as engine:
        said = await engine.lines_until("[READY] http")
        information = messages(said, "INFO")  # config 65: every line parses
        assert not any("\x1b" in line for line in said)
        assert "Parsed config file: engine.yaml" in information
        ports = [
            int(text.rpartition(":")[2]) for text in information if text.startswith("Engine listening on address: ")
        ]
        assert ports[1] == second  # config 18
        assert ports[0] not in {0, 49134}  # the flag wins over the file, and the port it means is told
        assert guarded in ports
        assert all(connects(port) for port in (*ports, http))  # config 25
        warnings = messages(said, "WARN")
        assert sum("public and has no access control" in text for text in warnings) == 1
        assert any(f"worker port {second} is public" in text for text in warnings)
        unbuilt = [text for text in warnings if "not part of this release" in text]
        assert any(
            "engine.yaml:1: workers[5]: module 'modules::cron::CronModule' (iii-cron)" in text for text in unbuilt
        )
        assert messages(said, "ERROR") == []

        keep_alive = await trio.open_tcp_stream("127.0.0.1", http)
        await keep_alive.send_all(b"GET /nothing HTTP/1.1\r\nhost: h\r\n\r\n")
        assert b"404" in await keep_alive.receive_some(65536)
        stream = await trio.open_tcp_stream("127.0.0.1", second)
        async with stream, trio.open_nursery() as nursery:
            worker = await wrap_client_stream(nursery, stream, "127.0.0.1", "/")
            answer = await call(worker, "shop::greet", {"name": "Ada"})  # config 55
            assert answer["result"] == "hello Ada"
            with trio.fail_after(10):  # config 23
                engine.send(signal.SIGTERM)
                reason = await closing(worker)
                assert (reason and reason.code) == 1012
                assert await engine.wait() == 0
        await keep_alive.aclose()
        ended = await engine.rest()
        assert messages(ended, "WARN") == ["Shutting down engine and destroying workers", "Engine shutdown complete"]
        assert messages(ended, "ERROR") == []
        assert await engine.errors() == ""


async def test_sigint_ends_an_engine_that_found_its_file(tmp_path: Path) -> None:
    (tmp_path / "iii-config.yaml").write_text("")  # config 71: empty is valid
    async with serving("--host", "127.0.0.1", "--port", "0", cwd=tmp_path) as engine:
        said = await engine.lines_until("[READY] listener")
        assert any(line.endswith("Parsed config file: iii-config.yaml") for line in said)
        assert not any("WARN" in line for line in said)  # --host makes the port private
        assert all(line.startswith("[") and "\x1b" not in line for line in said)  # not a terminal
        assert not any("[READY] http" in line for line in said)  # config 12
        engine.send(signal.SIGINT)
        assert await engine.wait() == 0  # config 23


async def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = write(tmp_path, {})
        async with serving("-c", file, "--host", "127.0.0.1", "--port", str(port), cwd=tmp_path) as engine:
            assert await engine.wait() == 1  # config 20
            error = await engine.errors()
            said = await engine.rest()
    assert error.startswith(f"Error: address 127.0.0.1:{port} is already in use by ")
    assert f"(pid {os.getpid()})" in error
    assert error.count("\n") == 1
    assert not any("listening" in line for line in said)


async def test_a_module_that_fails_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    file = write(tmp_path, {"modules": [{"class": "shop::Greeter", "config": {"fails": True}}]})
    async with serving("-c", file, "--port", "0", "--load", "shop", cwd=tmp_path) as engine:
        assert await engine.wait() == 1  # config 21
        said = "\n".join(await engine.rest())
        error = await engine.errors()
    assert error == "Error: failed to initialize module 'shop::Greeter': no greeting today\n"
    assert 'raise RuntimeError("no greeting today")' in said  # where it happened, for its author
    assert "Engine listening" not in said


REFUSED = [
    (None, "Config file not found: 'engine.yaml'."),  # config 6
    ("port: ${MISSING_HERE}", "Environment variable 'MISSING_HERE' not set and no default provided"),  # config 5
    ("{}  # ${MISSING_HERE}", "Environment variable 'MISSING_HERE' not set and no default provided"),
    ("workers: [", "Failed to parse config file 'engine.yaml'"),  # config 8
    ("[]", "Failed to parse config file 'engine.yaml'"),  # config 71
    ("workers: [{config: {}}]", "missing field `name`"),
    ("modules: [{class: 'modules::nope::X'}]", "Unknown module class: modules::nope::X"),  # config 9
    ("workers: [{name: iii-http, config: {prot: 1}}]", "unknown field `prot`"),
    ("workers: [{name: iii-http}, {name: http}]", "Duplicate worker configurations:"),  # config 15
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_bad_file_is_refused_with_exit_code_1(
    text: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MISSING_HERE", raising=False)
    if text is not None:
        write(tmp_path, text)
    assert main(["--config", "engine.yaml"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("Error: ")
    assert message in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ([] if text is None else ["engine.yaml"])


def test_what_cannot_be_loaded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--load", "no.such.package"]) == 1
    assert capsys.readouterr().err.startswith("Error: --load no.such.package: cannot be imported: No module named")


BROKEN_MODULES = [
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("raise SystemExit('bye')", "SystemExit: bye"),
    ("def f(:", "SyntaxError: invalid syntax"),
]


@pytest.mark.parametrize(("text", "why"), BROKEN_MODULES)
def test_a_module_that_fails_while_it_is_imported_is_named(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_on_import.py").write_text(text)
    assert main(["--load", "broken_on_import"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"Error: --load broken_on_import: cannot be imported: {why}")
    assert 'broken_on_import.py", line 1' in said.out  # where, for its author


@pytest.mark.parametrize("name", ["", ".relative"])
def test_a_name_that_no_module_can_have_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--load", name]) == 1
    assert capsys.readouterr().err.startswith(f"Error: --load {name}: cannot be imported: ")
