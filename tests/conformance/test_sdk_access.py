"""Workers of every SDK on a guarded port: let in by a header or the URL, called and calling as its rules say (wire-protocol 11)."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest
from asking import Answer, ask
from processes import Engine, Spawned, eventually, serving
from sdk_install import SDKS, Sdk
from sdk_world import running

from tests.process import free_port

NAMES = [sdk.name for sdk in SDKS]
GATE = next(sdk for sdk in SDKS if sdk.name == "python-new")
NO_HEADERS = "0.9.0"
"""The release whose SDKs have no option for headers."""
CONFIG = """\
workers:
  - name: iii-worker-manager
    config: {{{{ host: 127.0.0.1 }}}}
  - name: iii-worker-manager
    config:
      host: 127.0.0.1
      port: {port}
      middleware_function_id: gate::proxy
      rbac:
        auth_function_id: gate::auth
        on_function_registration_function_id: gate::on-function
        expose_functions:
          - match("shop::*")
          - match("of-*::*")
          - match("engine::functions::list")
  - name: iii-http
    config: {{{{ host: 127.0.0.1, port: {{http}} }}}}
"""


@attrs.define(eq=False)
class GuardedWorld:
    """The engine, the worker that guards it, and one worker per SDK on the guarded port."""

    engine: Engine
    workers: dict[str, Spawned]

    def ask(self, path: str) -> Answer:
        return ask(self.engine.http, "GET", path).answer


@pytest.fixture(scope="module")
def guarded(installed: Mapping[Sdk, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedWorld]:
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    with ExitStack() as stack:
        engine = stack.enter_context(serving(folder, written=CONFIG.format(port=port)))

        def run(sdk: Sdk, script: str, *arguments: str) -> Spawned:
            return stack.enter_context(running(folder, sdk, installed[sdk], script, engine.url, *arguments))

        world = GuardedWorld(engine, {})
        for sdk in SDKS:
            script = "guarded_oldest" if sdk.version == NO_HEADERS else "guarded"
            url = f"ws://127.0.0.1:{port}/?name={sdk.name}"
            world.workers[sdk.name] = run(sdk, script, url, f"token-of-{sdk.name}", sdk.name)
        # The one that guards is the last to come, as it may be after a restart of the engine.
        refused = "was not let in: Function gate::auth not found"
        eventually(lambda: engine.spawned.output().count(refused) >= 2 * len(SDKS) or None, "all have been refused")
        world.workers["gate"] = run(GATE, "gate", engine.url)
        _wait_route(world, "gate", "/gate")
        yield world


def _wait_route(world: GuardedWorld, name: str, path: str) -> None:
    def probe() -> bool | None:
        assert world.workers[name].process.poll() is None, world.workers[name].output()
        return True if world.ask(path).status == 200 else None

    eventually(probe, f"{name} serves {path}")


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_is_let_in_and_lives_by_the_rules(guarded: GuardedWorld, name: str) -> None:
    # wire 76, 78, 80, 81, 83, 84
    _wait_route(guarded, name, f"/{name}")  # its trigger fires what it may call: its own function under the prefix
    report = guarded.ask(f"/{name}").body
    assert report["shop"] == {"result": {"price": 5, "through": name}}
    assert "FORBIDDEN" in report["hidden"]["code"]
    assert f"of-{name}::report" in report["listed"]
    assert "shop::price" in report["listed"]
    assert not any(listed.startswith(("gate::", "hidden::", "engine::")) for listed in report["listed"])


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_worker_tries_again(guarded: GuardedWorld, name: str) -> None:
    # 11.4: SDKs ignore the frame and come back
    _wait_route(guarded, name, f"/{name}")
    assert guarded.ask("/gate").body[name] == ["127.0.0.1"]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_hook_denies_is_not_there(guarded: GuardedWorld, name: str) -> None:
    # wire 81: the worker lives on and was told nothing
    _wait_route(guarded, name, f"/{name}")
    assert guarded.ask(f"/{name}/bad").status in {404, 500}
    assert f"of-{name}::bad" not in json.dumps(guarded.ask(f"/{name}").body["listed"])
    assert guarded.workers[name].process.poll() is None
