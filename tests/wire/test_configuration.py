"""The configuration module as workers see it, over their sockets and through its files (config-cli-modules 7)."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from serve_process import DEADLINE
from wire_client import Client, Json, World, open_world

from iii_trio.protocol.errors import ConfigError

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s": {"type": "string"}},
    "additionalProperties": False,
}
ENTRY = {"id": "shop", "name": "Shop", "description": "What the shop sells", "schema": SCHEMA}


@asynccontextmanager
async def opened(directory: Path, env: dict[str, str] | None = None, **config: Any) -> AsyncIterator[World]:
    """An engine that keeps its configuration values there, and one client."""
    adapter = {"name": "fs", "config": {"directory": str(directory)}}
    entry = {"name": "configuration", "config": {"adapter": adapter, **config}}
    async with open_world({"workers": [entry]}, env=env or {}) as world:
        yield world


async def registered(client: Client, value: Any = None, **more: Any) -> Json:
    given = {} if value is None else {"initial_value": value}
    answer: Json = await client.value("configuration::register", {**ENTRY, **given, **more})
    return answer


async def get(client: Client, entry_id: str = "shop", **more: Any) -> Any:
    return (await client.value("configuration::get", {"id": entry_id, **more}))["value"]


async def put(client: Client, value: Any, entry_id: str = "shop") -> Json:
    answer: Json = await client.value("configuration::set", {"id": entry_id, "value": value})
    return answer


async def follows(client: Client, trigger_id: str = "t", function_id: str = "on::change", **config: Any) -> None:
    await client.register(function_id)
    await client.say(
        type="registertrigger", id=trigger_id, trigger_type="configuration", function_id=function_id, config=config
    )
    await client.fence()


async def told(client: Client, function_id: str = "on::change") -> Json:
    """The next event, answered. Hands on a disk are noticed within two seconds, where the machine does nothing else."""
    call = await client.invoked(function_id, within=DEADLINE)
    await client.answer(call)
    data: Json = call["data"]
    return data


async def eventually(question: Any, wanted: Any) -> None:
    """Poll until the question is answered as wanted."""
    with trio.fail_after(DEADLINE):
        while (found := await question()) != wanted:
            assert found is not None
            await trio.sleep(0.02)


# --- functions --------------------------------------------------------------------------------------------------------


async def test_register_set_get(tmp_path: Path) -> None:
    # config 46
    async with opened(tmp_path / "c", {"HOST": "h"}) as world:
        client = await world.connect()
        assert await registered(client, {"n": 1}, metadata={"m": 1}) == {
            **ENTRY,
            "value": {"n": 1},
            "metadata": {"m": 1},
        }
        assert await get(client) == {"n": 1}
        assert await put(client, {"n": 2}) == {"old_value": {"n": 1}, "new_value": {"n": 2}}
        text = {"n": "${X:5}", "s": "a ${HOST} ${Y:b:c} $Z"}
        assert (await put(client, text))["new_value"] == text
        assert await get(client) == {"n": 5, "s": "a h b:c $Z"}
        assert await get(client, raw=True) == text
        assert await client.value("configuration::schema", {"id": "shop"}) == {**ENTRY, "metadata": {"m": 1}}
        await registered(client, id="a-first")
        listed = (await client.value("configuration::list", {}))["configurations"]
        assert listed == [{**ENTRY, "id": "a-first"}, {**ENTRY, "metadata": {"m": 1}}]


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("5", 5),
        ("-1.5e3", -1500.0),
        ("true", True),
        ("null", None),
        ("text", "text"),
        ("", ""),
        ("007", "007"),
        ("5 ", "5 "),
        ("NaN", "NaN"),
        ("True", "True"),
    ],
)
async def test_a_text_that_is_one_placeholder_takes_the_type_it_reads_like(
    default: str, value: Any, tmp_path: Path
) -> None:
    # config 46
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"x": f"${{X:{default}}}", "y": [f"${{X:{default}}} "]}, schema={})
        assert await get(client) == {"x": value, "y": [f"{default} "]}


async def test_what_is_refused(tmp_path: Path) -> None:
    # config 47
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        set_, get_ = "configuration::set", "configuration::get"
        for function, data, code, text in (
            (set_, {"id": "shop", "value": {"n": "text"}}, "SCHEMA_INVALID", '"text" is not of type "integer"'),
            (set_, {"id": "shop", "value": {"z": 1}}, "SCHEMA_INVALID", "'z' was unexpected"),
            (set_, {"id": "shop", "value": None}, "SCHEMA_INVALID", "null is not of type"),
            (set_, {"id": "shop", "value": {"n": "${X:text}"}}, "SCHEMA_INVALID", '"text" is not of type'),
            (set_, {"id": "nope", "value": 1}, "NOT_REGISTERED", "'nope' is not registered"),
            (get_, {"id": "nope"}, "NOT_FOUND", "'nope' not found"),
            ("configuration::schema", {"id": "nope"}, "NOT_FOUND", "'nope' not found"),
            (set_, {"id": "shop"}, "deserialization_error", "`value`"),
            (get_, ["shop"], "deserialization_error", "an array"),
            (get_, "shop", "deserialization_error", "`str`"),
            ("configuration::list", [], "deserialization_error", "an array"),
            ("configuration::schema", {"id": 5}, "deserialization_error", "`int`"),
            ("configuration::register", {**ENTRY, "name": None}, "deserialization_error", "`null`"),
            (
                "configuration::register",
                {"id": "shop", "name": "", "description": ""},
                "deserialization_error",
                "`schema`",
            ),
        ):
            error = await client.error(function, data)
            assert (error["code"], text in error["message"]) == (code, True), error
        for name in ("register", "set", "get", "list", "schema"):
            outcome = await client.outcome(await client.invoke(f"configuration::{name}", None))
            assert outcome["error"]["code"] == "deserialization_error"
        for entry_id in ("A b", "", "a" * 65, "../up", "a.b", "ä"):
            error = await client.error("configuration::register", {**ENTRY, "id": entry_id})
            assert error["code"] == "INVALID_ID"
        error = await client.error("configuration::register", {**ENTRY, "id": "bad", "initial_value": 5})
        assert error["code"] == "SCHEMA_INVALID"
        assert (await client.error(get_, {"id": "bad"}))["code"] == "NOT_FOUND"
        assert await get(client) == {"n": 1}


async def test_a_variable_that_is_not_set_is_taken_and_missed_by_whoever_reads(tmp_path: Path) -> None:
    # config 47
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        await follows(client)
        await put(client, {"n": "${UNSET_NUMBER}", "s": "a"})
        assert (await told(client))["new_value"] == {"n": "${UNSET_NUMBER}", "s": "a"}
        error = await client.error("configuration::get", {"id": "shop"})
        assert error["code"] == "EXPAND_FAILED"
        assert "Environment variable 'UNSET_NUMBER' not set and no default provided" in error["message"]
        assert await get(client, raw=True) == {"n": "${UNSET_NUMBER}", "s": "a"}
        error = await client.error("configuration::set", {"id": "shop", "value": {"n": "${UNSET_NUMBER}", "s": 5}})
        assert error["code"] == "SCHEMA_INVALID"  # the rest is checked all the same


@pytest.mark.parametrize(
    "schema", [{"type": "zzz"}, None, 5, {"$ref": "file:///etc/passwd"}, {"$ref": "http://127.0.0.1:9"}]
)
async def test_a_schema_that_is_none_is_taken_and_fits_nothing(schema: Any, tmp_path: Path) -> None:
    # config 47
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        assert (await registered(client, schema=schema))["value"] is None
        assert await get(client) is None
        error = await client.error("configuration::set", {"id": "shop", "value": {}})
        assert error["code"] == "SCHEMA_INVALID"
        assert "the registered schema cannot be used" in error["message"]


async def test_what_cannot_be_stored_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1}, schema={})
        deep: Any = 1
        for _ in range(70):
            deep = [deep]
        for value in (deep, list(range(60_000)), 10**300):
            assert (await client.error("configuration::set", {"id": "shop", "value": value}))["code"] == "ADAPTER_ERROR"
        (tmp_path / "c").rename(tmp_path / "away")
        (tmp_path / "c").write_text("in the way")
        assert (await client.error("configuration::set", {"id": "shop", "value": 2}))["code"] == "ADAPTER_ERROR"
        assert await get(client) == {"n": 1}


FS = {"name": "fs", "config": {"directory": "c"}}


@pytest.mark.parametrize(
    ("configs", "text"),
    [
        ([{"adapter": {"name": "bridge"}}], 'Adapter factory \'bridge\' not found. Available: ["fs", "memory"]'),
        ([{"adapter": {"class": "nope"}}], 'Adapter factory \'nope\' not found. Available: ["fs", "memory"]'),
        ([{"adapter": {"name": "fs", "config": {"bridge_url": "ws://h"}}}], "unknown field `bridge_url`"),
        ([{"adapter": {"name": "memory", "config": {"directory": "c"}}}], "unknown field `directory`"),
        ([{"ttl_seconds": -1}], "at least 0"),
        ([{"ttl_seconds": "soon"}], "ttl_seconds"),
        ([{"directory": "c"}], "unknown field `directory`, expected `adapter` or `ttl_seconds`"),
        ([{"adapter": FS}, {"adapter": FS}], "one instance serves all"),
    ],
)
async def test_what_its_entry_cannot_say(configs: list[Json], text: str) -> None:
    # config 10
    with pytest.raises(ConfigError) as refused:
        async with open_world({"workers": [{"name": "configuration", "config": config} for config in configs]}):
            pass
    assert text in str(refused.value)
    assert "configuration" in str(refused.value)


# --- keeping ----------------------------------------------------------------------------------------------------------


async def test_values_outlive_the_engine(tmp_path: Path) -> None:
    # config 50
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1}, metadata={"m": 1})
        await put(client, {"n": "${X:2}"})
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        assert await get(client) == {"n": 2}
        error = await client.error("configuration::set", {"id": "shop", "value": {"n": 3}})
        assert error["code"] == "SCHEMA_UNAVAILABLE"
        assert await registered(client, name="New") == {**ENTRY, "name": "New", "value": {"n": "${X:2}"}}
        assert await get(client) == {"n": 2}
        await put(client, {"n": 3})
        assert (await registered(client, {"n": 4}))["value"] == {"n": 4}
        assert await get(client) == {"n": 4}


async def test_what_was_acknowledged_is_on_disk(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 0})
        for number in range(20):
            await put(client, {"n": number})
            assert f'\n  "n": {number}\n' in (tmp_path / "c" / "shop.yaml").read_text()
        assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["shop.yaml"]


async def test_a_restart_of_the_module_loses_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        await follows(client)
        with world.engine.events.open() as feed:
            assert world.engine.kill("modules/configuration/logic")
            with trio.fail_after(5):
                while (event := await feed.channel.receive()).kind != "restarted":
                    assert event.kind != "escalated"
        await put(client, {"n": 2})  # the schema is still known
        assert (await told(client))["old_value"] == {"n": 1}


async def test_an_engine_of_a_mapping_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_world({"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}) as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        assert await get(client, "iii-http") == {"host": "127.0.0.1", "port": 0}
        assert world.engine.kill("modules/configuration/logic")
        await eventually(lambda: _value_or_code(client), {"n": 1})
    assert not any(os.scandir(tmp_path))


async def _value_or_code(client: Client) -> Any:
    outcome = await client.call("configuration::get", {"id": "shop"})
    return outcome["result"]["value"] if "result" in outcome else outcome["error"]["code"]


async def test_files_of_the_former_place_are_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    former, folder = tmp_path / "data/configuration", tmp_path / "config"
    former.mkdir(parents=True)
    folder.mkdir()
    (former / "old.yaml").write_text("id: old\nname: Old\ndescription: ''\nvalue: {a: 1}\n")
    (former / "both.yaml").write_text("id: both\nvalue: former\n")
    (folder / "both.yaml").write_text("id: both\nvalue: here\n")
    async with open_world({"workers": [{"name": "configuration", "config": {"adapter": {"name": "fs"}}}]}) as world:
        client = await world.connect()
        assert await get(client, "old") == {"a": 1}
        assert await get(client, "both") == "here"
    assert [path.name for path in former.iterdir()] == ["both.yaml"]


async def test_a_changed_block_of_the_file_is_told_as_a_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # config 48, 50
    caplog.set_level(logging.INFO)
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        assert (await registered(client, seed={"n": 1}))["value"] == {"n": 1}
        await put(client, {"n": 2})
        await follows(client)
        caplog.clear()
        assert (await registered(client, seed={"n": 1}))["value"] == {"n": 2}
        assert (await told(client))["event_type"] == "configuration:registered"
        assert caplog.text.count("the stored value is in force") == caplog.text.count("WARNING") == 1
        caplog.clear()
        assert (await registered(client, seed={"n": 3}))["value"] == {"n": 3}
        assert (await told(client))["event_type"] == "configuration:registered"
        event = await told(client)
        assert (event["event_type"], event["old_value"], event["new_value"]) == (
            "configuration:updated",
            {"n": 2},
            {"n": 3},
        )
        assert caplog.text.count("has changed and is in force now") == 1
        assert "WARNING" not in caplog.text
        assert (await client.error("configuration::register", {**ENTRY, "seed": {"n": "x"}}))[
            "code"
        ] == "SCHEMA_INVALID"
        assert await get(client) == {"n": 3}


# --- triggers ---------------------------------------------------------------------------------------------------------


async def test_changes_are_told(tmp_path: Path) -> None:
    # config 48
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await follows(client)
        await registered(client, {"n": "${X:1}"}, metadata={"m": 1})
        event = {"type": "configuration", **ENTRY, "metadata": {"m": 1}}
        assert await told(client) == {
            **event,
            "event_type": "configuration:registered",
            "old_value": None,
            "new_value": {"n": 1},
        }
        for _ in range(2):  # an equal value is told again
            await put(client, {"n": 2})
        updated = {**event, "event_type": "configuration:updated", "new_value": {"n": 2}}
        assert await told(client) == {**updated, "old_value": {"n": 1}}
        assert await told(client) == {**updated, "old_value": {"n": 2}}
        await get(client)
        assert await client.fence() == []


async def test_triggers_choose(tmp_path: Path) -> None:
    # config 48
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await follows(client, "one", "on::one", configuration_id="shop")
        await follows(client, "new", "on::new", event_types=["configuration:registered", "configuration:nonsense"])
        await follows(client, "all", "on::all", configuration_id=None, event_types=None)
        await registered(client, {"n": 1}, id="other")
        assert (await told(client, "on::new"))["id"] == "other"
        assert (await told(client, "on::all"))["id"] == "other"
        await registered(client, {"n": 1})
        assert (await told(client, "on::one"))["id"] == "shop"
        assert (await told(client, "on::new"))["id"] == "shop"
        assert (await told(client, "on::all"))["id"] == "shop"
        await put(client, {"n": 2})
        assert (await told(client, "on::one"))["new_value"] == {"n": 2}
        assert (await told(client, "on::all"))["new_value"] == {"n": 2}
        assert await client.fence() == []


async def test_a_condition_stops_its_trigger_only(tmp_path: Path) -> None:
    # config 48
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        await client.register("if::wanted")
        await follows(client, "first", "on::first", condition_function_id="if::wanted")
        await follows(client, "broken", "on::broken", condition_function_id="if::missing")
        await follows(client, "second", "on::second")
        for verdict, called in ((False, False), (None, True), (0, True), ("false", True)):
            await put(client, {"n": 2})
            asked = await client.invoked("if::wanted")
            assert asked["data"]["new_value"] == {"n": 2}
            await client.answer(asked, result=verdict)
            if called:
                assert await told(client, "on::first") == asked["data"]
            assert await told(client, "on::second") == asked["data"]
            assert await client.fence() == []


async def test_triggers_of_one_event_come_one_after_the_other_and_outside_the_caller(tmp_path: Path) -> None:
    # config 48
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        await follows(client, "a", "on::a")
        await follows(client, "b", "on::b")
        await put(client, {"n": 2})  # answered although nobody has answered for the event
        first = await client.invoked("on::a")
        assert await client.fence() == []
        await client.answer(first, error={"code": "E", "message": "a failure does not stop the others"})
        assert (await told(client, "on::b"))["new_value"] == {"n": 2}


@pytest.mark.parametrize(
    "config",
    ["text", {"configuration_id": 5}, {"event_types": "all"}, {"event_types": [1]}, {"condition_function_id": 1}],
)
async def test_a_trigger_that_cannot_be_understood_is_refused(config: Any, tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await client.say(type="registertrigger", id="t", trigger_type="configuration", function_id="f", config=config)
        refusal = await client.hear("triggerregistrationresult", id="t")
        assert refusal["error"]["code"] == "trigger_registration_failed"


async def test_metadata_of_the_trigger_comes_along(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await client.register("on::change")
        await client.say(
            type="registertrigger",
            id="t",
            trigger_type="configuration",
            function_id="on::change",
            config={},
            metadata={"team": 1},
        )
        await registered(client)
        assert (await client.invoked("on::change"))["metadata"] == {"team": 1}


# --- hands on the files -----------------------------------------------------------------------------------------------


async def test_an_edit_by_hand_is_told(tmp_path: Path) -> None:
    # config 49
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        await follows(client, configuration_id="shop")
        file = tmp_path / "c" / "shop.yaml"
        file.write_text(file.read_text().replace('"n": 1', "n: ${X:7}  # by hand"))
        event = await told(client)
        assert (event["event_type"], event["old_value"], event["new_value"]) == (
            "configuration:updated",
            {"n": 1},
            {"n": 7},
        )
        assert await get(client) == {"n": 7}
        written = tmp_path / "c" / "written.tmp"  # as editors write
        written.write_text(file.read_text().replace("X:7", "X:8"))
        written.replace(file)
        assert (await told(client))["new_value"] == {"n": 8}
        assert await client.fence() == []


async def test_a_file_added_and_a_file_deleted_by_hand(tmp_path: Path) -> None:
    # config 76
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        await follows(client)
        (tmp_path / "c" / "added.yaml").write_text("id: added\nname: Added\nvalue: {a: 1}\n")
        event = await told(client)
        assert (event["event_type"], event["id"], event["name"]) == ("configuration:registered", "added", "Added")
        assert (event["old_value"], event["new_value"], event["schema"]) == (None, {"a": 1}, None)
        (tmp_path / "c" / "shop.yaml").unlink()
        event = await told(client)
        assert (event["event_type"], event["id"], event["name"]) == ("configuration:deleted", "shop", "Shop")
        assert (event["old_value"], event["new_value"]) == ({"n": 1}, None)
        assert (await client.error("configuration::get", {"id": "shop"}))["code"] == "NOT_FOUND"
        assert (await client.error("configuration::set", {"id": "shop", "value": {}}))["code"] == "NOT_REGISTERED"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id: shop\nvalue: {n: text}\n", '"text" is not of type "integer"'),
        ("id: shop\nvalue: {s: '${UNSET_VARIABLE}'}\n", "'UNSET_VARIABLE' not set"),
        ("id: shop\nvalue: {n: [\n", "cannot be read"),
        ("id: shop\nvalue: {n: .nan}\n", "JSON cannot carry"),
        ("id: other\nvalue: {n: 5}\n", "its id is not the name of the file"),
        ("id: shop\n", "it has no `value`"),
        ("- a list\n", "cannot be read"),
        ("id: shop\nname: [a]\nvalue: {n: 5}\n", "name and description are texts"),
    ],
)
async def test_an_edit_that_cannot_be_used_changes_nothing(
    text: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # config 49, 76
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        await follows(client)
        (tmp_path / "c" / "shop.yaml").write_text(text)
        (tmp_path / "c" / "shop-2.yaml").write_text("value: {}\n")  # noticed no earlier, and looked at later
        assert (await told(client))["id"] == "shop-2"
        assert said in caplog.text
        assert "the former value stays in force" in caplog.text.partition(said)[2]
        assert await client.fence() == []
        assert await get(client) == {"n": 1}


async def test_a_file_with_a_slip_is_moved_aside_and_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "shop.yaml").write_text("value: [a slip\n")
    (folder / "Not an id.yaml").write_text("value: 1\n")
    async with opened(folder) as world:
        client = await world.connect()
        assert (await client.error("configuration::get", {"id": "shop"}))["code"] == "NOT_FOUND"
        assert (await client.value("configuration::list", {})) == {"configurations": []}
        await registered(client, {"n": 1})
        assert (folder / "shop.yaml.unreadable").read_text() == "value: [a slip\n"
        assert await get(client) == {"n": 1}


async def test_a_directory_that_goes_and_comes_back_is_followed_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as world:
        client = await world.connect()
        await registered(client, {"n": 1})
        await follows(client)
        (tmp_path / "c" / "shop.yaml").unlink()
        (tmp_path / "c").rmdir()
        assert (await told(client))["event_type"] == "configuration:deleted"
        await registered(client, {"n": 1})
        assert (await told(client))["event_type"] == "configuration:registered"
        file = tmp_path / "c" / "shop.yaml"
        file.write_text(file.read_text().replace('"n": 1', "n: 2"))
        assert (await told(client))["new_value"] == {"n": 2}


async def test_an_entry_nobody_follows_any_more_is_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path / "c", ttl_seconds=1) as world:
        client, follower = await world.connect(), await world.connect()
        await registered(client, {"n": 1})
        await follows(client, event_types=["configuration:deleted"])
        await follows(follower, "t2", "on::two", configuration_id="shop")
        await world.leave(follower)
        assert (await told(client))["id"] == "shop"
        assert not (tmp_path / "c" / "shop.yaml").exists()
