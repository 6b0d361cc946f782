"""`iii-trio serve --strip-seeded-config`: stored blocks leave the configuration file (config-cli-modules 4.4)."""

import json
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from serve_process import ServeProcess, environment, serving

from iii_trio import Engine, open_engine
from iii_trio.commands._strip import strip_seeded_config
from iii_trio.modules import Module, ModuleCatalogue
from iii_trio.modules.catalogue import ModuleRegistration
from iii_trio.testing import MemoryNetwork
from tests.process import free_port

FILE = """\
# The shop's engine
workers:
  - name: configuration
    config:
      adapter: {name: fs, config: {directory: ./values}}   # stays
  - name: iii-http   # its port is below
    config:
      host: 127.0.0.1
      port: 0   # any

  # the workers
  - name: iii-worker-manager
    config: {host: 127.0.0.1}
"""
COMMENT = (
    "# iii-http: its settings are in values/iii-http.yaml now. Change them there, or with: "
    "iii-trio trigger configuration::set id=iii-http value=JSON"
)
BLOCK = "config:\n      host: 127.0.0.1\n      port: 0   # any"
STRIPPED = FILE.replace(BLOCK, COMMENT)


@attrs.frozen
class ConfigFile:
    """A configuration file in the working directory, named as its user names it."""

    folder: Path
    path: Path = Path("engine.yaml")

    @property
    def text(self) -> str:
        return self.path.read_text()

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def at(self, name: str = "") -> Path:
        """A file beside it."""
        return self.folder / name


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> ConfigFile:
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    file = ConfigFile(tmp_path)
    file.write(FILE)
    return file


@asynccontextmanager
async def opened(file: Path | None, **options: Any) -> AsyncIterator[Engine]:
    """An engine that took the blocks out once it was up."""
    async with open_engine(file, port=0, network=MemoryNetwork(), env={"PORT": "4711"}, **options) as engine:
        await strip_seeded_config(engine)
        yield engine


async def stored(engine: Engine) -> Any:
    return (await engine.invoke("configuration::get", {"id": "iii-http", "raw": True}))["value"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [message for message in said if "engine.yaml" in message]


# --- the program ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(file: ConfigFile, port: int, *words: str) -> AsyncIterator[ServeProcess]:
    async with serving("serve", "--config", "engine.yaml", "--port", str(port), *words, cwd=file.folder) as engine:
        yield engine
        engine.send(signal.SIGTERM)
        assert await engine.wait() == 0


async def asked(port: int, *words: str) -> Any:
    command = [sys.executable, "-m", "iii_trio", *words, "--port", str(port), "--address", "127.0.0.1"]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, env=environment())
    return json.loads(done.stdout)


async def test_the_life_of_a_file_whose_blocks_are_stored(file: ConfigFile) -> None:
    file.at("engine.yaml").chmod(0o664)
    port = free_port()
    get = ("trigger", "configuration::get", "id=iii-http", "raw=true")
    async with served(file, port) as engine:
        await engine.lines_until("[READY] http")
        assert await asked(port, *get) == {"id": "iii-http", "value": {"host": "127.0.0.1", "port": 0}}
    assert file.text == FILE  # nobody has asked for it
    async with served(file, port, "--strip-seeded-config") as engine:
        said = await engine.lines_until("taken out")
        assert "engine.yaml: the settings of iii-http are stored, and their block has been taken out" in said[-1]
        assert file.text == STRIPPED
        assert file.at("engine.yaml").stat().st_mode & 0o777 == 0o664
        program, *words, value = shlex.split(COMMENT.partition("with: ")[2])
        assert (program, value) == ("iii-trio", "value=JSON")
        changed = {"host": "127.0.0.1", "port": 0, "default_timeout": 5}
        assert (await asked(port, *words, f"value={json.dumps(changed)}"))["new_value"] == changed
    async with served(file, port, "--strip-seeded-config") as engine:
        await engine.lines_until("[READY] http")
        assert (await asked(port, *get))["value"] == changed
    assert file.text == STRIPPED
    file.write(STRIPPED.replace(COMMENT, f"{COMMENT}\n    config: {{host: 127.0.0.1, port: 0, body_limit: 7}}"))
    async with served(file, port, "--strip-seeded-config") as engine:
        said = await engine.lines_until("taken out")
        assert any("its block in the configuration file has changed and is in force now" in line for line in said)
        assert (await asked(port, *get))["value"] == {"host": "127.0.0.1", "port": 0, "body_limit": 7}
    assert file.text == STRIPPED
    assert sorted(path.name for path in file.at().iterdir()) == ["engine.yaml", "values"]


# --- what goes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "after"),
    [
        (
            "modules:\n- class: modules::api::RestApiModule\n  config: {port: 1}\n",
            "modules:\n- class: modules::api::RestApiModule\n  #\n",
        ),
        ("workers:\n- {name: http, config: {port: 1}}\n", "workers:\n#\n- {name: http}\n"),
        ("workers:\n- name: iii-http\n  config: {}\n", "workers:\n- name: iii-http\n  #\n"),
        (
            "workers:\n- name: iii-http\n  config: {concurrency_request_limit: 0}\n",
            "workers:\n- name: iii-http\n  #\n",
        ),
    ],
)
async def test_a_block_is_taken_out_whatever_its_form(
    entry: str, after: str, file: ConfigFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(entry)
    async with opened(file.path):
        assert file.text == after.replace("#", COMMENT.replace("values/", "config/"))
    assert warnings(caplog) == []


async def test_a_value_that_was_stored_before_is_enough(file: ConfigFile) -> None:
    async with open_engine(file.path, network=MemoryNetwork()) as engine:
        changed = {"host": "127.0.0.1", "port": 4}
        await engine.invoke("configuration::set", {"id": "iii-http", "value": changed})
    async with opened(file.path) as engine:
        assert file.text == STRIPPED
        assert await stored(engine) == changed


async def test_variables_are_put_in_for_good_and_the_log_says_so(
    file: ConfigFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(FILE.replace("port: 0", "port: ${PORT:3111}"))
    async with opened(file.path) as engine:
        assert await stored(engine) == {"host": "127.0.0.1", "port": 4711}
    assert file.text == STRIPPED
    (said,) = warnings(caplog)
    assert said.startswith("engine.yaml: the block of iii-http named variables")


async def test_a_link_stays_one(file: ConfigFile) -> None:
    file.at("engine.yaml").rename("real.yaml")
    file.at("engine.yaml").symlink_to("real.yaml")
    async with opened(file.path):
        pass
    assert file.at("engine.yaml").readlink() == Path("real.yaml")
    assert file.text == STRIPPED


async def test_a_place_that_could_mean_something_is_not_written_down(file: ConfigFile) -> None:
    file.write(FILE.replace("./values", '"./a}b"'))
    async with opened(file.path):
        assert file.at("a}b/iii-http.yaml").exists()
    assert "its settings are in the directory of the module configuration now" in file.text


# --- what stays -------------------------------------------------------------------------------------------------------


async def test_a_read_only_file_stays(file: ConfigFile, caplog: pytest.LogCaptureFixture) -> None:
    file.at("engine.yaml").chmod(0o444)
    async with opened(file.path):
        pass
    assert file.text == FILE
    assert warnings(caplog) == ["engine.yaml is left as it is: it is read-only"]


async def test_a_file_that_cannot_be_replaced_stays(file: ConfigFile, caplog: pytest.LogCaptureFixture) -> None:
    file.at(".engine.yaml.tmp").mkdir()  # in the way of the one that is to replace it
    async with opened(file.path):
        pass
    assert file.text == FILE
    assert warnings(caplog) == ["engine.yaml is left as it is: Is a directory"]


async def test_blocks_that_nobody_keeps_stay(file: ConfigFile, caplog: pytest.LogCaptureFixture) -> None:
    text = FILE.replace("{name: fs, config: {directory: ./values}}", "{name: memory}")
    file.write(text)
    async with opened(file.path):
        pass
    assert file.text == text
    assert warnings(caplog) == ["engine.yaml is left as it is: the values of this engine are not stored in files"]


@pytest.mark.parametrize(
    "kept", [None, "id: iii-http\n", "value:\n", "value: {port: 0}\n", "value: {}\nseed: {port: 1}\n"]
)
async def test_a_block_that_the_stored_file_does_not_know_stays(kept: str | None, file: ConfigFile) -> None:
    async with open_engine(file.path, network=MemoryNetwork()) as engine:
        if kept is None:
            file.at("values/iii-http.yaml").unlink()
        else:
            file.at("values/iii-http.yaml").write_text(kept)
        await strip_seeded_config(engine)
    assert file.text == FILE


async def test_a_file_that_was_changed_meanwhile_stays(file: ConfigFile, caplog: pytest.LogCaptureFixture) -> None:
    changed = FILE.replace("port: 0", "port: 5")
    async with open_engine(file.path, network=MemoryNetwork()) as engine:
        file.write(changed)
        await strip_seeded_config(engine)
        file.write("workers: [")
        await strip_seeded_config(engine)
    assert file.text == "workers: ["
    first, second = warnings(caplog)
    assert first == "engine.yaml: the block of iii-http is left in: the file has changed since it was read"
    assert second.startswith("engine.yaml is left as it is: Failed to parse config file 'engine.yaml'")


async def test_a_change_at_the_very_moment_is_not_lost(
    file: ConfigFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from iii_trio.commands import _strip

    real = _strip.strip_blocks

    def slow(*args: Any) -> Any:
        file.write(f"{FILE}# an editor\n")
        return real(*args)

    monkeypatch.setattr(_strip, "strip_blocks", slow)
    async with opened(file.path):
        pass
    assert file.text == f"{FILE}# an editor\n"
    assert warnings(caplog) == ["engine.yaml is left as it is: it is being changed at this moment"]


async def test_the_block_of_a_module_of_ones_own_stays(file: ConfigFile) -> None:
    class Own(Module):
        def name(self) -> str:
            return "own"

        @classmethod
        async def create(cls, engine: Any, config: Any) -> "Own":
            await trio.lowlevel.checkpoint()
            return cls()

        async def initialize(self) -> None:
            await trio.lowlevel.checkpoint()

    async with opened(file.path):
        pass
    file.write(FILE)
    for name in ("iii-http", "configuration"):
        catalogue = ModuleCatalogue()
        catalogue.add_module(ModuleRegistration(name, Own))
        async with opened(file.path, catalogue=catalogue):
            pass
        assert file.text == FILE


async def test_without_a_file_there_is_nothing_to_do(file: ConfigFile, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(None):
        pass
    assert file.text == FILE
    assert warnings(caplog) == []
