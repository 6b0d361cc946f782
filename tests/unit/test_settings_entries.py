"""Module entries in both vocabularies: names, duplicates, adapters, keys (config-cli-modules 1.3 to 1.5 and 12)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from iii_trio.protocol.errors import ConfigError
from iii_trio.settings import MODULES, AdapterEntry, Catalogue, Settings, find_module, load_settings


def key(default: Any = attrs.NOTHING) -> Any:
    return attrs.field(default=default, metadata={"doc": "-"})


@attrs.frozen
class HttpConfig:
    port: int = attrs.field(default=3111, metadata={"doc": "-", "minimum": 0, "maximum": 65535})
    host: str = key("0.0.0.0")


@attrs.frozen
class ExecConfig:
    exec: tuple[str, ...] = key()
    watch: tuple[str, ...] = key(())


@attrs.frozen
class Sampling:
    ratio: float = key(1.0)


@attrs.frozen
class ObservabilityConfig:
    enabled: bool = key(True)
    sampling: Sampling | None = attrs.field(default=None, metadata={"doc": "-"})


@attrs.frozen
class StateConfig:
    triggers_enabled: bool = key(True)


@attrs.frozen
class KvConfig:
    store_method: str = key("in_memory")


CATALOGUE = Catalogue(
    modules={
        "iii-http": HttpConfig,
        "iii-exec": ExecConfig,
        "iii-observability": ObservabilityConfig,
        "iii-state": StateConfig,
        "iii-queue": None,
        "my::Greeter": None,
    },
    adapters={"iii-state": {"kv": KvConfig, "redis": None, "my::Adapter": None}, "iii-queue": {"redis": None}},
)

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def load(text: str, catalogue: Catalogue = CATALOGUE) -> Settings:
        Path("c.yaml").write_text(text)
        return load_settings("c.yaml", {}, catalogue, "1.2.3")

    return load


@pytest.fixture
def problems(load: Load) -> Problems:
    def problems(text: str, catalogue: Catalogue = CATALOGUE) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, catalogue)
        return list(caught.value.problems)

    return problems


def started(settings: Settings) -> list[tuple[str, Mapping[str, Any] | None]]:
    return [(entry.instance, entry.config) for entry in settings.entries if entry.key]


# Both vocabularies


OLD = """
modules:
  - class: modules::api::RestApiModule
    config: {port: 4000}
  - class: modules::state::StateModule
    config: {adapter: {class: modules::state::adapters::KvStore, config: {store_method: file_based}}}
"""
NEW = """
workers:
  - name: iii-http
    config: {port: 4000}
  - name: iii-state
    config: {adapter: {name: kv, config: {store_method: file_based}}}
"""


def test_both_vocabularies_mean_the_same(load: Load) -> None:  # config 1
    for text in (OLD, NEW, OLD.replace("modules:\n", "workers:\n"), NEW.replace("workers:\n", "modules:\n")):
        http, state = (entry for entry in load(text).entries if entry.key)
        assert (http.module, http.options) == ("iii-http", HttpConfig(port=4000))
        assert (state.module, state.options) == ("iii-state", StateConfig())
        assert state.adapter is not None
        assert (state.adapter.name, state.adapter.options) == ("kv", KvConfig("file_based"))


def test_workers_start_before_modules(load: Load) -> None:
    settings = load("modules: [{class: my::Greeter}]\nworkers: [{class: modules::api::RestApiModule}]")
    assert [entry.instance for entry in settings.entries] == ["iii-http", "my::Greeter", "iii-observability"]


def test_name_and_class_together_must_agree(load: Load, problems: Problems) -> None:
    (entry, _) = load("workers: [{name: iii-http, class: modules::rest_api::RestApiModule}]").entries
    assert (entry.module, entry.written) == ("iii-http", "iii-http")
    (found,) = problems("workers: [{name: iii-http, class: modules::state::StateModule}]")
    assert '`name` "iii-http" and `class` "modules::state::StateModule" mean different things' in found
    (found,) = problems("workers: [{name: nope, class: nope2}]")
    assert "mean different things" in found


NAMES = [
    ("iii-http", "modules::api::RestApiModule modules::rest_api::RestApiModule iii-http http"),  # config 16
    ("iii-stream", "modules::stream::StreamModule modules::streams::StreamModule iii-stream stream"),
    ("iii-state", "modules::state::StateModule iii-state state"),
    (
        "iii-queue",
        "modules::queue::QueueModule workers::queue::QueueModule modules::event::EventModule iii-queue queue",
    ),
    ("iii-pubsub", "modules::pubsub::PubSubModule iii-pubsub pubsub"),
    ("iii-cron", "modules::cron::CronModule iii-cron cron"),
    ("iii-observability", "modules::observability::OtelModule iii-observability"),
    ("iii-observability", "modules::observability::LoggingModule modules::observability::ObservabilityModule"),
    ("iii-exec", "modules::shell::ExecModule iii-exec"),
    ("iii-bridge", "modules::bridge_client::BridgeClientModule iii-bridge iii-bridge-client"),
    ("iii-http-functions", "modules::http_functions::HttpFunctionsModule iii-http-functions"),
    ("iii-worker-manager", "modules::worker::WorkerModule iii-worker-manager"),
    ("iii-engine-functions", "iii-engine-functions"),
    ("iii-telemetry", "modules::telemetry::TelemetryModule iii-telemetry"),
    ("configuration", "configuration"),
    ("modules::kv_server::KvServer", "modules::kv_server::KvServer"),
]
ADAPTERS = [
    ("iii-stream", "kv", "kv modules::stream::adapters::KvStore modules::streams::adapters::KvStore"),
    ("iii-stream", "redis", "redis modules::stream::adapters::RedisAdapter modules::streams::adapters::RedisAdapter"),
    ("iii-stream", "bridge", "bridge modules::stream::adapters::Bridge"),
    ("iii-state", "kv", "kv modules::state::adapters::KvStore"),
    ("iii-state", "redis", "redis modules::state::adapters::RedisAdapter"),
    ("iii-state", "bridge", "bridge modules::state::adapters::Bridge"),
    ("iii-queue", "builtin", "builtin modules::queue::BuiltinQueueAdapter"),
    ("iii-queue", "redis", "redis modules::queue::RedisAdapter modules::queue::adapters::RedisAdapter"),  # config 16
    ("iii-queue", "redis", "modules::event::RedisAdapter"),
    ("iii-queue", "rabbitmq", "rabbitmq modules::queue::RabbitMQAdapter"),
    ("iii-queue", "bridge", "bridge modules::queue::adapters::Bridge workers::queue::adapters::Bridge"),
    ("iii-queue", "memory", "memory"),
    ("iii-queue", "in_memory", "in_memory"),
    ("iii-queue", "file_based", "file_based"),
    ("iii-pubsub", "local", "local modules::pubsub::LocalAdapter"),
    ("iii-pubsub", "redis", "redis modules::pubsub::RedisAdapter"),
    ("iii-pubsub", "memory", "memory"),
    ("iii-cron", "kv", "kv modules::cron::KvCronAdapter local"),
    ("iii-cron", "redis", "redis modules::cron::RedisCronAdapter"),
    ("configuration", "fs", "fs"),
    ("configuration", "bridge", "bridge"),
]


def test_every_name_a_module_has_had() -> None:
    for canonical, names in NAMES:
        for name in names.split():
            found = find_module(name)
            assert found is not None, name
            assert found.name == canonical
    assert {names.name for names in MODULES} == {canonical for canonical, _ in NAMES}
    assert find_module("modules::nope::X") is None


def test_every_name_an_adapter_has_had() -> None:
    for module, canonical, names in ADAPTERS:
        found = find_module(module)
        assert found is not None
        assert {found.adapter(name) for name in names.split()} == {canonical}
    defaults = {names.name: names.default_adapter for names in MODULES if names.default_adapter}
    assert defaults == {
        "configuration": "fs",
        "iii-stream": "kv",
        "iii-state": "kv",
        "iii-queue": "builtin",
        "iii-pubsub": "local",
        "iii-cron": "kv",
    }


# Entries that are none


def test_an_entry_without_a_name(problems: Problems) -> None:  # config 71
    assert problems("workers:\n  - config: {}\n") == [
        "Failed to parse config file 'c.yaml': c.yaml:2: workers[0]: missing field `name` at line 2 column 5"
    ]


def test_entries_of_a_wrong_shape(problems: Problems) -> None:
    head = "Failed to parse config file 'c.yaml': c.yaml:"
    assert problems("workers:\n  - iii-http\n  -\n  - {name: 5}\n  - {class: [a]}\nmodules:\n  - {name: null}\n") == [
        f'{head}2: workers[0]: invalid type: string "iii-http", expected a mapping with `name`',
        f"{head}3: workers[1]: invalid type: null, expected a mapping with `name`",
        f"{head}4: workers[2].name: invalid type: integer `5`, expected a string",
        f"{head}5: workers[3].class: invalid type: a list, expected a string",
        f"{head}7: modules[0]: missing field `name` at line 7 column 5",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("iii-htp", "iii-http"), ("iii_http", "iii-http"), ("htttp", "http"), ("configurations", "configuration")],
)
def test_an_unknown_module_that_resembles_one(problems: Problems, name: str, meant: str) -> None:
    (problem,) = problems(f"workers: [{{name: '{name}'}}]")
    assert problem.endswith(f"Unknown module class: {name} (did you mean `{meant}`?)")


def test_a_container_of_an_unknown_name(problems: Problems) -> None:
    (problem,) = problems("workers: [{name: shop, image: a/b}]")
    assert problem.startswith("c.yaml:1: workers[0].image: ")
    assert "starts no containers" in problem


@pytest.mark.parametrize("name", ["modules::nope::X", "iii-nope", "acme::shop"])
def test_an_unknown_module(problems: Problems, name: str) -> None:  # config 9
    assert problems(f"workers: [{{name: '{name}'}}]") == [
        f"c.yaml:1: workers[0]: failed to create module '{name}': Failed to create {name}: Unknown module class: {name}"
    ]


def test_containers_are_not_supported(problems: Problems, load: Load) -> None:
    found = problems("workers: [{name: iii-http, image: a/b, config: {prt: 1}}]")
    assert [line.split(": ")[1] for line in found] == ["workers[0].image", "workers[0].config.prt"]
    assert "`image` is not supported" in found[0]
    assert started(load("workers: [{name: iii-http, image: null, other: 1}]")) == [("iii-http", None)]


@pytest.mark.parametrize(("config", "given"), [("[]", "a list"), ("5", "integer `5`"), ("text", 'string "text"')])
def test_a_config_that_is_no_mapping(problems: Problems, config: str, given: str) -> None:  # config 71
    for name in ("iii-http", "my::Greeter", "iii-cron"):
        assert problems(f"workers: [{{name: '{name}', config: {config}}}]") == [
            (
                f"c.yaml:1: workers[0].config: failed to create module '{name}': Failed to create {name}: "
                f"invalid type: {given}, expected a mapping"
            )
        ]


def test_a_null_config_is_an_absent_one(load: Load) -> None:
    settings = load("workers: [{name: iii-http, config: null}, {name: iii-state, config: }]")
    assert started(settings) == [("iii-http", None), ("iii-state", None)]
    assert settings.entries[0].options == HttpConfig()


# Duplicates


@pytest.mark.parametrize("short", ["http", "cron", "queue", "state", "pubsub"])
def test_old_and_new_name_beside_each_other(problems: Problems, short: str) -> None:  # config 15
    (found,) = problems(f"workers:\n  - name: {short}\nmodules:\n  - name: iii-{short}\n")
    assert found.split("\n") == [
        "Duplicate worker configurations:",
        (
            f"- 'iii-{short}' is the deprecated name for '{short}', but both are present. "
            f"Remove 'iii-{short}' from your configuration (c.yaml:2, c.yaml:4)."
        ),
    ]


def test_every_pair_has_its_line(problems: Problems) -> None:
    (found,) = problems("workers: [{name: http}, {name: cron}, {name: iii-cron}, {name: iii-http}]")
    assert [line.split("'")[1] for line in found.split("\n")[1:]] == ["iii-http", "iii-cron"]


def test_further_instances_have_a_number(load: Load) -> None:
    names = ("my::Greeter", "iii-queue", "my::Greeter", "my::Greeter", "modules::queue::QueueModule")
    settings = load("workers:\n" + "".join(f"  - name: {name}\n" for name in names))
    assert [name for name, _ in started(settings)] == [
        "my::Greeter",
        "iii-queue",
        "my::Greeter#1",
        "my::Greeter#2",
        "iii-queue#1",
    ]


@pytest.mark.parametrize(
    ("one", "other", "module"),
    [
        ("iii-http", "iii-http", "iii-http"),
        ("iii-http", "modules::api::RestApiModule", "iii-http"),
        ("stream", "iii-stream", "iii-stream"),
    ],
)
def test_a_second_instance_cannot_have_the_port(problems: Problems, one: str, other: str, module: str) -> None:
    assert problems(f"workers:\n  - name: {one}\n  - class: {other}\n") == [
        (
            f"c.yaml:3: workers[1]: failed to create module '{other}': Failed to create {other}: {module} is listed more than "
            f"once (first at c.yaml:2: workers[0]: '{one}') and one instance holds its port"
        )
    ]


# Modules of others, modules to come, modules that are gone


def test_registered_modules_are_passed_on_unchecked(load: Load) -> None:
    settings = load("workers: [{name: 'my::Greeter', config: {any: [1, {thing: null}], adapter: {class: x}}}]")
    (entry, _) = settings.entries
    assert (entry.config, entry.options) == ({"any": [1, {"thing": None}], "adapter": {"class": "x"}}, None)


def test_a_registered_module_may_take_a_built_in_name(load: Load) -> None:
    catalogue = Catalogue({"http": None, "iii-http": HttpConfig})
    own, built_in = load("workers: [{name: http, config: {zzz: 1}}, {name: iii-http}]", catalogue).entries
    assert (own.module, own.instance, own.config) == ("http", "http", {"zzz": 1})
    assert built_in.options == HttpConfig()


def test_modules_to_come_are_listed_apart_and_unchecked(load: Load) -> None:
    settings = load(
        "workers:\n  - name: iii-cron\n    config: {zzz: 1}\n  - name: iii-http\n  - class: modules::pubsub::PubSubModule\n"
    )
    assert [(entry.module, entry.written, entry.location, entry.config) for entry in settings.unbuilt] == [
        ("iii-cron", "iii-cron", "c.yaml:2", {"zzz": 1}),
        ("iii-pubsub", "modules::pubsub::PubSubModule", "c.yaml:5", None),
    ]
    assert [entry.instance for entry in settings.entries] == ["iii-http", "iii-observability"]


@pytest.mark.parametrize("name", ["iii-telemetry", "modules::telemetry::TelemetryModule"])
def test_telemetry_is_accepted_and_ignored(load: Load, name: str) -> None:  # config 14
    settings = load(f"workers: [{{name: '{name}', config: {{zzz: 1, heartbeat_interval_secs: x}}}}]")
    assert started(settings) == []
    assert (settings.unbuilt, settings.warnings) == ((), ())


def test_the_old_store_is_accepted_with_a_warning(load: Load) -> None:
    settings = load("modules:\n  - class: modules::kv_server::KvServer\n    config: {save_interval_ms: 1}\n")
    assert started(settings) == []
    assert settings.warnings == (
        "c.yaml:2: modules[0]: 'modules::kv_server::KvServer' no longer exists; the entry is ignored",
    )


def test_engine_functions_take_no_keys(load: Load, problems: Problems) -> None:
    assert started(load("workers: [{name: iii-engine-functions}]")) == [("iii-engine-functions", None)]
    (found,) = problems("workers: [{name: iii-engine-functions, config: {a: 1}}]")
    assert found.endswith("unknown field `a`, there are no fields")


# Keys


def test_unknown_keys_and_wrong_types_name_their_line(problems: Problems) -> None:  # config 11
    text = """
workers:
  - name: iii-exec
    config:
      exec: ls
      zzz: 1
  - class: modules::shell::ExecModule
  - name: iii-http
    config:
      host: 5
      port: 70000
"""
    assert problems(text) == [
        (
            "c.yaml:5: workers[0].config.exec: failed to create module 'iii-exec': Failed to create iii-exec: "
            'invalid type: string "ls", expected a list'
        ),
        (
            "c.yaml:6: workers[0].config.zzz: failed to create module 'iii-exec': Failed to create iii-exec: "
            "unknown field `zzz`, expected `exec` or `watch`"
        ),
        (
            "c.yaml:7: workers[1].config: failed to create module 'modules::shell::ExecModule': "
            "Failed to create modules::shell::ExecModule: missing field `exec`"
        ),
        (
            "c.yaml:10: workers[2].config.host: failed to create module 'iii-http': Failed to create iii-http: "
            "invalid type: integer `5`, expected a string"
        ),
        (
            "c.yaml:11: workers[2].config.port: failed to create module 'iii-http': Failed to create iii-http: "
            "invalid value: integer `70000`, expected 0 to 65535"
        ),
    ]


def test_problems_of_every_kind_come_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    text = "workers:\n  - {name: iii-http, config: {a: 1}}\n  - {}\n  - {name: nope}\nport: x\nmodules:\n  - {name: http}\n"
    assert [line.split("c.yaml:")[1][0] if "c.yaml:" in line else line for line in problems(text)] == list("22345")


def test_observability_only_warns_of_unknown_keys(load: Load, problems: Problems) -> None:
    text = (
        "workers:\n  - name: iii-observability\n    config: {zzz: 1, enabled: false, sampling: {ratio: 0.5, rte: 1}}\n"
    )
    settings = load(text)
    assert settings.entries[0].options == ObservabilityConfig(enabled=False, sampling=Sampling(0.5))
    assert settings.entries[0].config == {"zzz": 1, "enabled": False, "sampling": {"ratio": 0.5, "rte": 1}}
    assert settings.warnings == (
        "c.yaml:3: workers[0].config.sampling.rte: unknown field `rte`, expected `ratio`; the key is ignored",
        "c.yaml:3: workers[0].config.zzz: unknown field `zzz`, expected `enabled` or `sampling`; the key is ignored",
    )
    (found,) = problems(text.replace("false", "5"))
    assert "workers[0].config.enabled: failed to create module" in found


def test_places_are_kept_for_later(load: Load) -> None:
    (entry, _) = load("workers:\n  - name: my::Greeter\n    config:\n      a:\n        - b: 1\n").entries
    assert (entry.key, entry.location) == ("workers[0]", "c.yaml:2")
    assert entry.lines == {"": 2, "name": 2, "config": 3, "config.a": 4, "config.a[0]": 5, "config.a[0].b": 5}


def test_entries_compare_by_meaning(load: Load) -> None:
    one = load("workers: [{name: iii-http, config: {port: 1, host: a}}]").entries[0]
    other = load(
        "# comment\nmodules:\n  - class: modules::api::RestApiModule\n    config: {host: a, port: 1}\n"
    ).entries[0]
    assert one == other
    assert one != load("workers: [{name: iii-http, config: {port: 2, host: a}}]").entries[0]


# Adapters


def adapter_of(settings: Settings) -> AdapterEntry | None:
    return settings.entries[0].adapter


@pytest.mark.parametrize(
    ("given", "name", "options"),
    [
        ("{}", "kv", KvConfig()),
        ("{adapter: null}", "kv", KvConfig()),
        ("{adapter: {name: kv}}", "kv", KvConfig()),
        ("{adapter: {name: kv, config: null}}", "kv", KvConfig()),
        ("{adapter: {class: modules::state::adapters::KvStore, config: {store_method: x}}}", "kv", KvConfig("x")),
        ("{adapter: {name: redis, class: 'modules::state::adapters::RedisAdapter', config: {any: 1}}}", "redis", None),
        ("{adapter: {class: 'my::Adapter', config: {any: 1}}}", "my::Adapter", None),
    ],
)
def test_adapters_by_any_name(load: Load, given: str, name: str, options: Any) -> None:
    adapter = adapter_of(load(f"workers: [{{name: iii-state, config: {given}}}]"))
    assert adapter is not None
    assert (adapter.name, adapter.options) == (name, options)


def test_a_default_adapter_that_is_not_there_leaves_the_choice_to_the_module(load: Load) -> None:
    assert adapter_of(load("workers: [{name: iii-queue}]")) is None


@pytest.mark.parametrize("name", ["nope", "bridge", "modules::queue::RedisAdapter"])
def test_an_unknown_adapter(problems: Problems, name: str) -> None:  # config 10
    assert problems(f"workers:\n  - name: iii-state\n    config: {{adapter: {{name: '{name}'}}}}\n") == [
        (
            "c.yaml:3: workers[0].config.adapter: failed to create module 'iii-state': Failed to create iii-state: "
            f'Adapter factory \'{name}\' not found. Available: ["kv", "my::Adapter", "redis"]'
        )
    ]


@pytest.mark.parametrize(
    ("adapter", "place", "message"),
    [
        ("kv", "adapter", 'invalid type: string "kv", expected a mapping with `name`'),
        ("{config: {}}", "adapter", "missing field `name`"),
        ("{name: 5}", "adapter.name", "invalid type: integer `5`, expected a string"),
        ("{name: kv, zzz: 1}", "adapter.zzz", "unknown field `zzz`, expected one of `name`, `class`, `config`"),
        ("{name: kv, class: redis}", "adapter", '`name` "kv" and `class` "redis" mean different things'),
        ("{name: kv, config: []}", "adapter.config", "invalid type: a list, expected a mapping"),
        ("{name: kv, config: {zzz: 1}}", "adapter.config.zzz", "unknown field `zzz`, expected `store_method`"),
    ],
)
def test_wrong_adapter_entries(problems: Problems, adapter: str, place: str, message: str) -> None:
    (found,) = problems(f"workers: [{{name: iii-state, config: {{adapter: {adapter}}}}}]")
    assert found.startswith(f"c.yaml:1: workers[0].config.{place}: ")
    assert found.endswith(message)


def test_modules_without_adapters_do_not_take_the_key(problems: Problems) -> None:
    (found,) = problems("workers: [{name: iii-http, config: {adapter: {name: kv}}}]")
    assert "unknown field `adapter`, expected `port` or `host`" in found


def test_the_key_adapter_is_named_where_it_is_known(problems: Problems) -> None:
    (found,) = problems("workers: [{name: iii-state, config: {zzz: 1}}]")
    assert found.endswith("unknown field `zzz`, expected `adapter` or `triggers_enabled`")
