"""Every file in config/samples loads, and says what it is there to show."""

from pathlib import Path

import pytest

from iii_trio.composition import settings_catalogue
from iii_trio.settings import MODULES, Catalogue, Settings, load_settings
from iii_trio.settings.names import Accepts

SAMPLES = Path(__file__).parents[2] / "config" / "samples"
EVERYTHING = Catalogue({names.name: None for names in MODULES})


def load(name: str, catalogue: Catalogue = EVERYTHING, **env: str) -> Settings:
    return load_settings(SAMPLES / name, env, catalogue, "1.2.3")


def listed(settings: Settings) -> list[str]:
    return [entry.instance for entry in settings.entries if entry.key]


@pytest.mark.parametrize("path", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
@pytest.mark.parametrize(
    "catalogue", [EVERYTHING, Catalogue(), settings_catalogue()], ids=["everything", "nothing", "release"]
)
def test_every_sample_loads(path: Path, catalogue: Catalogue) -> None:
    settings = load(path.name, catalogue)
    assert settings.warnings == ()
    assert settings.entries or settings.unbuilt


def test_minimal() -> None:
    settings = load("minimal.yaml")
    assert listed(settings) == ["iii-worker-manager", "iii-http"]
    assert [listener.host for listener in settings.listeners()] == ["127.0.0.1"]


def test_old_vocabulary() -> None:  # config 1, config 2
    settings = load("old-vocabulary.yaml", III_PORT="50001")
    assert listed(settings) == ["iii-http", "iii-state", "iii-queue"]
    assert [listener.port for listener in settings.listeners()] == [50001]


def test_two_listeners() -> None:  # config 18
    settings = load("two-listeners.yaml", III_PUBLIC_PORT="50002")
    assert listed(settings) == ["iii-worker-manager", "iii-worker-manager#1", "iii-http"]
    assert [(one.port, one.idle_timeout_ms) for one in settings.listeners()] == [(49134, 180_000), (50002, 60_000)]


def test_guarded() -> None:
    own, guests = load("guarded.yaml", III_GUEST_PORT="50003").listeners()
    assert (own.rbac, own.middleware_function_id, own.host) == (None, None, "127.0.0.1")
    assert (guests.port, guests.middleware_function_id) == (50003, "gate::proxy")
    assert guests.rbac is not None
    assert [(one.match, one.metadata, one.namespace) for one in guests.rbac.expose_functions] == [
        ("shop::*", None, None),
        (None, {"public": True, "tier": 'match("*basic*")'}, None),
        ("orders::*", None, "orders"),
        ("engine::functions::list", None, None),
    ]


def test_http() -> None:
    settings = load("http.yaml", settings_catalogue(), HTTP_PORT="4000")
    http = next(entry for entry in settings.entries if entry.module == "iii-http").options
    assert (http.port, http.body_limit, http.openapi, http.ignore_trailing_slash) == (4000, 1 << 20, True, True)
    assert http.middleware_ids == ("edge::rate", "edge::auth")
    assert (http.request_id_header, http.not_found_function) == ("x-request-id", "edge::not_found")


def test_http_functions() -> None:
    settings = load("http-functions.yaml", settings_catalogue())
    module = next(entry for entry in settings.entries if entry.module == "iii-http-functions")
    assert module.options.security.url_allowlist == ("*.partner.example", "billing.internal")


def test_full_names_every_module() -> None:
    written = {entry.module for entry in load("full.yaml").entries}
    assert written == {
        names.name for names in MODULES if names.accepts not in {Accepts.NOTHING_DONE, Accepts.NOTHING_DONE_WARN}
    }
    assert "iii-telemetry" in (SAMPLES / "full.yaml").read_text(encoding="utf-8")


def test_full_without_the_modules_to_come() -> None:
    settings = load("full.yaml", Catalogue({"iii-http": None}))
    assert listed(settings) == ["iii-worker-manager", "iii-engine-functions", "iii-http"]
    assert [entry.module for entry in settings.unbuilt][:2] == ["iii-observability", "iii-http-functions"]
