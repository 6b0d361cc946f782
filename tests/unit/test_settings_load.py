"""Configuration files: where they are, what can be wrong with them, what counts (config-cli-modules 1)."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from iii_trio.protocol.errors import ConfigError
from iii_trio.settings import (
    AdapterEntry,
    Catalogue,
    Settings,
    WorkerListenerConfig,
    build_settings,
    default_settings,
    find_config,
    load_settings,
)


def key(default: Any = attrs.NOTHING) -> Any:
    return attrs.field(default=default, metadata={"doc": "-"})


@attrs.frozen
class HttpConfig:
    port: int = key(3111)
    host: str = key("0.0.0.0")


@attrs.frozen
class ExecConfig:
    exec: tuple[str, ...] = key()
    watch: tuple[str, ...] = key(())


@attrs.frozen
class NoConfig:
    pass


FULL = Catalogue(
    modules={
        "iii-http": HttpConfig,
        "iii-observability": NoConfig,
        "iii-queue": NoConfig,
        "iii-cron": NoConfig,
        "my::Greeter": None,
    },
    adapters={"iii-cron": {"redis": None}},
)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def load(text: str | bytes, catalogue: Catalogue = FULL, **env: str) -> Settings:
        Path("config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_settings(Path("config.yaml"), env, catalogue, "1.2.3")

    return load


@pytest.fixture
def problems(load: Any) -> Any:
    def problems(text: str | bytes, catalogue: Catalogue = FULL, **env: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, catalogue, **env)
        return list(caught.value.problems)

    return problems


def modules(settings: Settings) -> list[str]:
    return [entry.instance for entry in settings.entries]


# Finding and reading


def test_the_default_names_are_looked_up_in_order(tmp_path: Path) -> None:
    assert find_config(tmp_path) is None
    (tmp_path / "iii-config.yaml").touch()
    assert find_config(tmp_path) == tmp_path / "iii-config.yaml"
    (tmp_path / "config.yaml").symlink_to("gone")  # what is there but unreadable is not passed over in silence
    assert find_config(tmp_path) == tmp_path / "config.yaml"


def test_a_missing_file(tmp_path: Path) -> None:  # config 6
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "no.yaml", {}, FULL, "1")
    first, hint = str(caught.value).split("\n")
    assert first == f"Config file not found: '{tmp_path / 'no.yaml'}'."
    assert hint


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {}, FULL, "1")
    assert str(caught.value) == f"Failed to read config file '{tmp_path}': Is a directory"


def test_invalid_utf8(problems: Any) -> None:  # config 71
    assert problems(b"a: 1\nb: \xff\n") == [
        "Failed to read config file 'config.yaml': not UTF-8 at config.yaml:2 (invalid start byte)"
    ]


def test_an_oversize_file(problems: Any) -> None:
    assert problems("#" * (4 * 1024 * 1024 + 1)) == [
        "Failed to read config file 'config.yaml': larger than 4194304 bytes"
    ]


def test_an_oversize_expansion(problems: Any) -> None:
    (found,) = problems("# ${A}${A}${A}", A="x" * 2_000_000)
    assert found.startswith("Failed to read config file 'config.yaml': more than")


def test_missing_variables_are_all_named(problems: Any) -> None:  # config 5
    assert problems("a: ${MISSING}\n# ${ALSO}\n") == [
        "Environment variable 'MISSING' not set and no default provided (config.yaml:1)",
        "Environment variable 'ALSO' not set and no default provided (config.yaml:2)",
    ]


def test_broken_yaml_names_the_line_of_the_source(problems: Any) -> None:  # config 8
    (found,) = problems("# ${A}\nworkers: [\n", A="one\n# two")
    assert found.startswith("Failed to parse config file 'config.yaml': config.yaml:3: ")


def test_the_file_is_never_written(load: Any, tmp_path: Path) -> None:
    load("workers: []\n")
    before = (tmp_path / "config.yaml").stat()
    load_settings(tmp_path / "config.yaml", {}, FULL, "1")
    assert (tmp_path / "config.yaml").stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


# The top level


@pytest.mark.parametrize("text", ["", "{}", "workers:\n", "workers: null\nmodules: ~\n", '{"workers": []}'])
def test_an_empty_file_starts_what_always_starts(load: Any, text: str) -> None:  # config 12, config 71
    settings = load(text)
    assert modules(settings) == ["iii-observability"]
    assert settings.listeners() == (WorkerListenerConfig(),)
    assert settings.path == Path("config.yaml")


def test_top_level_problems(problems: Any) -> None:
    head = "Failed to parse config file 'config.yaml': config.yaml:"
    assert problems("port: x\nzzz: 1\nworkers: 5\nmodules: {}\nregistration_namespace_grace_ms: -1\n") == [
        f'{head}1: port: invalid type: string "x", expected an integer',
        f"{head}2: zzz: unknown field `zzz`, expected one of `port`, `workers`, `modules`, `registration_namespace_grace_ms`",
        f"{head}3: workers: invalid type: integer `5`, expected a list",
        f"{head}4: modules: invalid type: a mapping, expected a list",
        f"{head}5: registration_namespace_grace_ms: invalid value: integer `-1`, expected at least 0",
    ]


@pytest.mark.parametrize("document", ["- a", "5", "text"])
def test_a_document_that_is_no_mapping(problems: Any, document: str) -> None:  # config 71
    (found,) = problems(document)
    assert found.startswith("Failed to parse config file 'config.yaml': config.yaml:1: invalid type: ")


def test_the_namespace_grace(load: Any, problems: Any) -> None:
    assert load("").registration_namespace_grace_ms == 5000
    text = "registration_namespace_grace_ms: 100"
    assert load(text).registration_namespace_grace_ms == 100
    assert load(text, III_NAMESPACE_GRACE_MS="7").registration_namespace_grace_ms == 7
    assert load(text, III_NAMESPACE_GRACE_MS="").registration_namespace_grace_ms == 100
    assert problems(text, III_NAMESPACE_GRACE_MS="soon") == [
        'III_NAMESPACE_GRACE_MS: invalid type: string "soon", expected a number of milliseconds'
    ]


# Worker listeners


def ports(settings: Settings) -> list[int]:
    return [listener.port for listener in settings.listeners()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port: 50001", [50001]),  # config 2
        ("port: 0", [49134]),
        ('port: "50001"', [50001]),
        ("port: ${PORT:50001}", [50001]),
        ("", [49134]),
        ("workers: [{name: iii-worker-manager}]", [49134]),
        ("port: 50001\nworkers: [{name: iii-worker-manager}]", [50001]),
        ("port: 50001\nworkers: [{name: iii-worker-manager, config: {port: 50002}}]", [50002]),
        ("port: 50001\nworkers: [{name: iii-worker-manager, config: {port: 0}}]", [49134]),
        ('workers: [{name: iii-worker-manager, config: {port: "${P:4000}"}}]', [4000]),  # config 3
        ("port: 50001\nmodules: [{class: modules::worker::WorkerModule}]", [50001]),
        (  # config 18
            "workers: [{name: iii-worker-manager, config: {port: 1}}, {name: iii-worker-manager, config: {port: 2}}]",
            [1, 2],
        ),
    ],
)
def test_the_ports_workers_connect_to(load: Any, text: str, expected: list[int]) -> None:
    assert ports(load(text)) == expected


def test_every_key_of_a_listener(load: Any) -> None:
    text = """
      workers:
        - name: iii-worker-manager
          config:
            {port: 5, host: "::1", middleware_function_id: gate::proxy, handshake_timeout_ms: 1, heartbeat_interval_ms: 0,
             idle_timeout_ms: 0, rbac: {auth_function_id: gate::auth, expose_functions: [match("a::*"), {metadata: {a: 1}}]}}
    """
    (listener,) = load(text).listeners()
    assert listener.rbac is not None
    assert attrs.asdict(listener) == {
        "port": 5,
        "host": "::1",
        "middleware_function_id": "gate::proxy",
        "handshake_timeout_ms": 1,
        "heartbeat_interval_ms": 0,
        "idle_timeout_ms": 0,
        "rbac": {
            "auth_function_id": "gate::auth",
            "expose_functions": (
                {"match": "a::*", "metadata": None, "namespace": None},
                {"match": None, "metadata": {"a": 1}, "namespace": None},
            ),
            "on_function_registration_function_id": None,
            "on_trigger_registration_function_id": None,
            "on_trigger_type_registration_function_id": None,
        },
    }


def test_a_wrong_listener_key_is_refused(problems: Any) -> None:  # wire 85
    text = """
workers:
  - name: iii-worker-manager
    config:
      zzz: 1
      rbac: {auth_function: x}
      host: ""
      port: 65536
  - name: iii-worker-manager
    config: {host: ""}
"""
    head = "failed to create module 'iii-worker-manager': Failed to create iii-worker-manager:"
    found = problems(text)
    assert [line.split(": ")[:2] for line in found] == [
        ["config.yaml:5", "workers[0].config.zzz"],
        ["config.yaml:6", "workers[0].config.rbac.auth_function"],
        ["config.yaml:8", "workers[0].config.port"],
        ["config.yaml:10", "workers[1].config"],
    ]
    assert all(head in line for line in found)
    assert "unknown field `auth_function`, expected one of `auth_function_id`, " in found[1]
    assert found[3].endswith("`host` is empty")


def test_the_old_module_entry_takes_no_listener_keys(problems: Any) -> None:
    (found,) = problems("modules: [{class: modules::worker::WorkerModule, config: {port: 5}}]")
    assert found.endswith("Failed to create modules::worker::WorkerModule: unknown field `port`, there are no fields")


def test_hosts_nobody_named(load: Any) -> None:
    assert load("").hosts_not_given() == (WorkerListenerConfig(),)
    text = "workers: [{name: iii-worker-manager, config: {host: 0.0.0.0, port: 1}}, {name: iii-worker-manager, config: {port: 2}}]"
    assert load(text).hosts_not_given() == (WorkerListenerConfig(port=2),)
    assert default_settings(FULL).hosts_not_given() == ()


# Without a file


def test_the_default_settings_listen_on_loopback_only() -> None:  # config 13
    settings = default_settings(FULL, {"III_NAMESPACE_GRACE_MS": "9"})
    assert modules(settings) == ["iii-worker-manager", "iii-observability", "iii-http", "iii-queue", "iii-cron"]
    assert settings.listeners() == (WorkerListenerConfig(host="127.0.0.1"),)
    http = next(entry for entry in settings.entries if entry.module == "iii-http")
    assert http.options == HttpConfig(host="127.0.0.1")
    assert http.config == {"host": "127.0.0.1"}
    assert settings.registration_namespace_grace_ms == 9
    assert (settings.path, settings.unbuilt, settings.warnings) == (None, (), ())


def test_defaults_that_cannot_be_are_reported() -> None:
    with pytest.raises(ConfigError, match="III_NAMESPACE_GRACE_MS"):
        default_settings(FULL, {"III_NAMESPACE_GRACE_MS": "9" * 5000})
    with pytest.raises(ConfigError, match=r"Failed to create iii-http: missing field `exec`"):
        default_settings(Catalogue({"iii-http": ExecConfig}))


def test_a_start_without_a_file_imports_no_parser() -> None:
    code = (
        "import sys; from iii_trio.settings import *; default_settings(Catalogue({'iii-http': None}));"
        "print([m for m in ('ruamel', 'cattrs') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout == "[]\n"


# Objects


def test_an_object_needs_no_file() -> None:
    document = {"workers": [{"name": "my::Greeter", "config": {"word": "hello"}}], "port": 5}
    settings = build_settings(document, FULL)
    assert modules(settings) == ["my::Greeter", "iii-observability"]
    assert (settings.entries[0].config, settings.entries[0].options) == ({"word": "hello"}, None)
    assert ports(settings) == [5]


def test_problems_of_an_object_name_their_key() -> None:
    with pytest.raises(ConfigError) as caught:
        build_settings({"zzz": 1, "workers": [{}, {"name": "nope"}]}, FULL)
    assert sorted(caught.value.problems) == [
        "configuration: workers[0]: missing field `name`",
        "configuration: workers[1]: failed to create module 'nope': Failed to create nope: Unknown module class: nope",
        "configuration: zzz: unknown field `zzz`, expected one of `port`, `workers`, `modules`, `registration_namespace_grace_ms`",
    ]


def test_adapter_entries_compare_by_meaning() -> None:
    assert AdapterEntry("redis", "redis", {"a": 1}, options=object()) == AdapterEntry("redis", "redis", {"a": 1})
