"""Config classes from plain values: strict, every problem at once (config-cli-modules 1.4, 12)."""

from collections.abc import Mapping
from typing import Any, Literal

import attrs
import pytest

from iii_trio.protocol.errors import ConfigError
from iii_trio.settings import structure_config
from iii_trio.settings.structure import try_structure


def setting(default: Any = attrs.NOTHING, **metadata: Any) -> Any:
    return attrs.field(default=default, metadata={"doc": "-"} | metadata)


@attrs.frozen
class Rule:
    function_id: str = setting()
    priority: int = setting(0)


@attrs.frozen
class Cors:
    allowed_origins: tuple[str, ...] = setting(())


@attrs.frozen
class Sample:
    port: int = setting(3111, minimum=0, maximum=65535)
    ratio: float = setting(1.0, minimum=0, maximum=1)
    enabled: bool = setting(True)
    host: str = setting("0.0.0.0")
    level: Literal["info", "debug", "warn"] = setting("info")
    limit: int | None = setting(None, minimum=1)
    cors: Cors | None = attrs.field(default=None, metadata={"doc": "-"})
    rules: tuple[Rule, ...] = setting(())
    names: list[str] = attrs.field(factory=list, metadata={"doc": "-"})
    queues: dict[str, Rule] = attrs.field(factory=dict, metadata={"doc": "-"})
    labels: Mapping[str, Any] = attrs.field(factory=dict, metadata={"doc": "-"})


def problems(values: Mapping[str, Any], cls: type[Any] = Sample) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        structure_config(cls, values)
    return list(caught.value.problems)


def test_what_fits_becomes_the_class() -> None:
    made = structure_config(
        Sample,
        {
            "port": 1,
            "ratio": 0,
            "enabled": False,
            "level": "warn",
            "limit": 5,
            "cors": {"allowed_origins": ["*"]},
            "rules": [{"function_id": "a", "priority": -1}],
            "names": ["n"],
            "queues": {"q": {"function_id": "f"}},
            "labels": {"any": [1, None]},
        },
    )
    assert made == Sample(
        port=1,
        ratio=0.0,
        enabled=False,
        level="warn",
        limit=5,
        cors=Cors(("*",)),
        rules=(Rule("a", -1),),
        names=["n"],
        queues={"q": Rule("f")},
        labels={"any": [1, None]},
    )
    assert isinstance(made.ratio, float)


def test_nothing_gives_the_defaults() -> None:
    assert structure_config(Sample, {}) == Sample()


def test_digits_in_a_string_are_an_integer() -> None:  # config 3
    assert structure_config(Sample, {"port": "3111", "limit": "+5"}) == Sample(port=3111, limit=5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("port", "x", 'invalid type: string "x", expected an integer'),
        ("port", "", 'invalid type: string "", expected an integer'),
        ("port", " 1", 'invalid type: string " 1", expected an integer'),
        ("port", "1.0", 'invalid type: string "1.0", expected an integer'),
        ("port", "٣", 'invalid type: string "٣", expected an integer'),
        ("port", 1.0, "invalid type: number `1.0`, expected an integer"),
        ("port", True, "invalid type: boolean `true`, expected an integer"),
        ("port", None, "invalid type: null, expected an integer"),
        ("port", [1], "invalid type: a list, expected an integer"),
        ("port", {}, "invalid type: a mapping, expected an integer"),
        ("port", 65536, "invalid value: integer `65536`, expected 0 to 65535"),
        ("port", "-1", 'invalid value: string "-1", expected 0 to 65535'),
        ("limit", 0, "invalid value: integer `0`, expected at least 1"),
        ("ratio", "1", 'invalid type: string "1", expected a number'),
        ("ratio", float("nan"), "invalid type: number `nan`, expected a number"),
        ("ratio", float("inf"), "invalid type: number `inf`, expected a number"),
        ("ratio", True, "invalid type: boolean `true`, expected a number"),
        ("ratio", 1.5, "invalid value: number `1.5`, expected 0 to 1"),
        ("enabled", "true", 'invalid type: string "true", expected true or false'),
        ("enabled", 1, "invalid type: integer `1`, expected true or false"),
        ("host", 5, "invalid type: integer `5`, expected a string"),
        ("host", None, "invalid type: null, expected a string"),
        ("level", "zzz", 'unknown variant "zzz", expected one of `info`, `debug`, `warn`'),
        ("level", 5, "invalid type: integer `5`, expected one of `info`, `debug`, `warn`"),
        ("names", "abc", 'invalid type: string "abc", expected a list'),
        ("names", {"a": 1}, "invalid type: a mapping, expected a list"),
        ("rules", {"a": 1}, "invalid type: a mapping, expected a list"),
        ("cors", [], "invalid type: a list, expected a mapping"),
        ("queues", [], "invalid type: a list, expected a mapping"),
        ("labels", "x", 'invalid type: string "x", expected a mapping'),
        ("host", {1}, "invalid type: a set, expected a string"),
    ],
)
def test_nothing_is_coerced(key: str, value: Any, message: str) -> None:
    assert problems({key: value}) == [f"{key}: {message}"]


def test_every_problem_is_reported_with_its_path() -> None:
    found = problems(
        {
            "zzz": 1,
            "port": "x",
            "rules": [{}, {"function_id": "a", "prio": 1}, 5],
            "queues": {"a.b": {"function_id": 1}},
            "cors": {"allowed_origins": ["a", 2], "origins": []},
        }
    )
    assert sorted(found) == [
        "cors.allowed_origins[1]: invalid type: integer `2`, expected a string",
        "cors.origins: unknown field `origins`, expected `allowed_origins`",
        'port: invalid type: string "x", expected an integer',
        'queues."a.b".function_id: invalid type: integer `1`, expected a string',
        "rules[0]: missing field `function_id`",
        "rules[1].prio: unknown field `prio`, expected `function_id` or `priority`",
        "rules[2]: invalid type: integer `5`, expected a mapping",
        f"zzz: unknown field `zzz`, expected one of {', '.join(f'`{field.name}`' for field in attrs.fields(Sample))}",
    ]


def test_a_missing_required_key_is_named_even_when_all_are_missing() -> None:
    assert problems({}, Rule) == ["Rule: missing field `function_id`"]


def test_a_class_without_keys() -> None:
    @attrs.frozen
    class Nothing:
        pass

    assert problems({"a": 1}, Nothing) == ["a: unknown field `a`, there are no fields"]


def test_validators_of_a_class_speak_for_it() -> None:
    @attrs.frozen
    class Even:
        number: int = attrs.field(metadata={"doc": "-"})

        @number.validator
        def _even(self, _: Any, value: int) -> None:
            if value % 2:
                raise ValueError(f"`number` {value} is odd")

    assert structure_config(Even, {"number": 2}) == Even(2)
    assert problems({"number": 3}, Even) == ["Even: `number` 3 is odd"]


def test_hostile_names_stay_on_one_line_and_short() -> None:
    (found,) = problems({"a\nb" + "x" * 500: 1}, Cors)
    assert "\n" not in found
    assert "unknown field `a\\nb" in found
    assert len(found) < 800


def test_a_class_that_cannot_be_structured_is_a_mistake_of_the_code() -> None:
    @attrs.frozen
    class Odd:
        either: int | list[str] = attrs.field(metadata={"doc": "-"})

    with pytest.raises(Exception, match="Unsupported type") as caught:
        try_structure(Odd, {"either": 1})
    assert not isinstance(caught.value, ConfigError)


def test_notes_of_a_validator_are_no_key_path() -> None:
    @attrs.frozen
    class Noted:
        number: int = attrs.field(metadata={"doc": "-"})

        def __attrs_post_init__(self) -> None:
            error = ValueError("no")
            error.add_note("ask somebody")
            raise error

    assert problems({"number": 3}, Noted) == ["Noted: no"]


def test_other_errors_of_a_class_are_mistakes_of_the_code() -> None:
    @attrs.frozen
    class Broken:
        number: int = attrs.field(metadata={"doc": "-"})

        def __attrs_post_init__(self) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        structure_config(Broken, {"number": 3})
