"""Filters and other keys of access control in a configuration: what is wrong prevents the start (wire-protocol 11.3, 11.5)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from iii_trio._policies import make_policies
from iii_trio.kernel import MetadataRule, PatternRule, Policy
from iii_trio.protocol.errors import ConfigError
from iii_trio.settings import Catalogue, build_settings, load_settings

HEAD = "failed to create module 'iii-worker-manager': Failed to create iii-worker-manager: "


def policies(*configs: Mapping[str, Any]) -> tuple[Policy | None, ...]:
    workers = [{"name": "iii-worker-manager", "config": config} for config in configs]
    return make_policies(build_settings({"workers": workers}, Catalogue()).listeners())


def problem(folder: Path, config: Mapping[str, Any]) -> tuple[str, str]:
    """The key and the text of the only problem of a listener, whose file is told with the line."""
    file = folder / "config.yaml"
    file.write_text("workers:\n - name: iii-worker-manager\n   config: " + json.dumps(config))
    with pytest.raises(ConfigError) as raised:
        load_settings(file, {}, Catalogue(), "1.2.3")
    (line,) = raised.value.problems
    place, key, text = line.split(": ", 2)
    assert place == f"{file}:3"
    assert text.startswith(HEAD)
    return key.removeprefix("workers[0].config."), text.removeprefix(HEAD)


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ('match("shop::*")', PatternRule("shop::*")),
        ("match('shop::*')", PatternRule("shop::*")),
        ({"match": "shop::*"}, PatternRule("shop::*")),
        ({"match": 'match("shop::*")'}, PatternRule("shop::*")),
        ({"match": "orders::*", "namespace": "orders"}, PatternRule("orders::*", "orders")),
        ({"match": "orders::*", "namespace": None, "metadata": None}, PatternRule("orders::*")),
        (
            {"metadata": {"public": True, "tier": 'match("*b*")'}},
            MetadataRule({"public": True, "tier": 'match("*b*")'}),
        ),
        ({"metadata": {"level": 3.0}, "namespace": "a"}, MetadataRule({"level": 3.0}, "a")),
    ],
)
def test_a_filter(entry: Any, rule: PatternRule | MetadataRule) -> None:
    (policy,) = policies({"rbac": {"expose_functions": [entry]}})
    assert policy is not None
    assert policy.exposed == (rule,)


@pytest.mark.parametrize(
    ("entry", "below", "text"),
    [
        ("shop::*", "", 'invalid filter "shop::*", expected match("<pattern>")'),
        ('match("shop::*"', "", "invalid filter"),
        ("", "", "invalid filter"),
        (5, "", "invalid type: integer `5`, expected a string or a mapping"),
        (None, "", "invalid type: null, expected a string or a mapping"),
        (["match('a')"], "", "invalid type: a list"),
        ({}, "", "give `match` or `metadata`"),
        ({"namespace": "a"}, "", "give `match` or `metadata`"),
        ({"match": "a", "metadata": {"b": 1}}, "", "give `match` or `metadata`, not both"),
        ({"metadata": {}}, "", "`metadata` is empty: it would expose every function"),
        ({"metadata": [1]}, ".metadata", "invalid type: a list, expected a mapping"),
        ({"match": 5}, ".match", "invalid type: integer `5`, expected a string"),
        ({"match": "a", "namespace": " "}, "", "`namespace` is blank"),
        ({"match": "a", "namespace": 1}, ".namespace", "invalid type"),
        ({"pattern": "a"}, ".pattern", "unknown field `pattern`, expected one of `match`, `metadata`, `namespace`"),
        ({"match": "a", "tier": 1}, ".tier", "unknown field `tier`"),
    ],
)
def test_a_malformed_filter_prevents_the_start(tmp_path: Path, entry: Any, below: str, text: str) -> None:
    # wire 85
    key, said = problem(tmp_path, {"rbac": {"expose_functions": ["match('a')", entry]}})
    assert key == f"rbac.expose_functions[1]{below}"
    assert text in said


@pytest.mark.parametrize(
    ("config", "key", "text"),
    [
        ({"rbac": {"auth_function": "x"}}, "rbac.auth_function", "unknown field `auth_function`"),
        ({"rbac": {"auth_function_id": 5}}, "rbac.auth_function_id", "invalid type"),
        ({"rbac": {"expose_functions": "match('a')"}}, "rbac.expose_functions", "expected a list"),
        ({"rbac": {"expose_functions": None}}, "rbac.expose_functions", "expected a list"),
        ({"rbac": []}, "rbac", "expected a mapping"),
        ({"rbac": None}, "rbac", "`rbac` is empty: write `rbac: {}` to expose nothing"),
        ({"middleware": "x"}, "middleware", "unknown field `middleware`"),
        ({"middleware_function_id": ["x"]}, "middleware_function_id", "invalid type"),
    ],
)
def test_a_wrong_key_prevents_the_start(tmp_path: Path, config: Any, key: str, text: str) -> None:
    # wire 85: a typo must neither open nor close a port silently
    found, said = problem(tmp_path, config)
    assert found == key
    assert text in said


def test_listeners_without_access_control_have_no_policy() -> None:
    assert policies({}, {"port": 5}) == (None, None)


def test_every_policy_knows_who_guards_any_listener() -> None:
    asked = {
        "auth_function_id": "g::auth",
        "on_function_registration_function_id": "g::fn",
        "on_trigger_registration_function_id": "g::trigger",
        "on_trigger_type_registration_function_id": "g::type",
    }
    first, second, third = policies({"rbac": asked}, {"middleware_function_id": "g::proxy"}, {"rbac": {}})
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.gatekeepers == second.gatekeepers == third.gatekeepers == {*asked.values(), "g::proxy"}
    assert (first.is_rbac, second.is_rbac, third.is_rbac) == (True, False, True)
    assert third.exposed == ()
