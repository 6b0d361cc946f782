"""docs/config.md is what the classes say, and every key says something."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from iii_trio.composition import settings_catalogue
from iii_trio.settings import MODULES, Catalogue, render_reference
from iii_trio.settings.reference import UndocumentedKeyError

CONFIG_MD = Path(__file__).parents[2] / "docs" / "config.md"


@attrs.frozen
class Rule:
    """Who goes first."""

    function_id: str = attrs.field(metadata={"doc": "The function."})
    priority: int = attrs.field(default=0, metadata={"doc": "Lower first.", "maximum": 9})


@attrs.frozen
class Sample:
    """What a sample does.

    And more.
    """

    port: int = attrs.field(default=3111, metadata={"doc": "The port.", "minimum": 0, "maximum": 65535})
    level: Literal["a", "b"] = attrs.field(default="a", metadata={"doc": "How much."})
    ratio: float | None = attrs.field(default=None, metadata={"doc": "How often.", "minimum": 0})
    rules: tuple[Rule, ...] = attrs.field(default=(), metadata={"doc": "The rules."})
    queues: Mapping[str, Rule] = attrs.field(factory=dict, metadata={"doc": "By name."})
    rule: Rule | None = attrs.field(default=None, metadata={"doc": "One rule."})
    hidden: int = attrs.field(default=0, init=False)


def test_the_page_is_up_to_date() -> None:
    assert CONFIG_MD.read_text(encoding="utf-8") == render_reference(settings_catalogue())


def test_a_class_becomes_a_table() -> None:
    page = render_reference(Catalogue({"iii-http": Sample}, {"iii-state": {"redis": Rule, "own": None}}))
    section = page.split("### `iii-http`\n")[1].split("### ")[0]
    assert section.strip().split("\n") == [
        "What a sample does.",
        "",
        "| Key | Type | Default | Meaning |",
        "|---|---|---|---|",
        "| `port` | integer, 0 to 65535 | `3111` | The port. |",
        '| `level` | `a` or `b` | `"a"` | How much. |',
        "| `ratio` | number, at least 0 | - | How often. |",
        "| `rules` | list of mapping | `[]` | The rules. |",
        "| `rules[].function_id` | string | required | The function. |",
        "| `rules[].priority` | integer, at most 9 | `0` | Lower first. |",
        "| `queues` | mapping | `{}` | By name. |",
        "| `queues.*.function_id` | string | required | The function. |",
        "| `queues.*.priority` | integer, at most 9 | `0` | Lower first. |",
        "| `rule` | mapping | - | One rule. |",
        "| `rule.function_id` | string | required | The function. |",
        "| `rule.priority` | integer, at most 9 | `0` | Lower first. |",
    ]
    assert "### `iii-state, adapter redis`" in page
    assert "adapter own" not in page


def test_a_class_without_keys_says_so() -> None:
    @attrs.frozen
    class Nothing:
        """Does nothing."""

    page = render_reference(Catalogue({"iii-cron": Nothing}))
    assert page.endswith("### `iii-cron`\n\nDoes nothing.\n\nNo keys.\n")


def test_a_key_without_a_word_is_an_error() -> None:
    @attrs.frozen
    class Silent:
        port: int = 5

    with pytest.raises(UndocumentedKeyError, match=r"Silent\.port has no `doc`"):
        render_reference(Catalogue({"iii-http": Silent}))


def test_every_name_is_on_the_page() -> None:
    page = render_reference()
    names: list[Any] = [name for module in MODULES for name in (module.name, *module.classes, *module.aliases)]
    names += [name for module in MODULES for adapter in module.adapters for name in (adapter.name, *adapter.aliases)]
    assert [name for name in names if f"`{name}`" not in page] == []
