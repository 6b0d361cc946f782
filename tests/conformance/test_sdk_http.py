"""HTTP requests answered by unmodified SDK workers, each answer checked whole (wire 19's workers; http 32, 33, 42, 51)."""

import json
import re
from typing import Any

import pytest
from asking import Answer, Exchange, ask, ask_as_people_do, expected
from sdk_install import SDKS
from sdk_world import World

NAMES = [sdk.name for sdk in SDKS]
BY_CURL = {"python-new", "node-old"}

pytestmark = pytest.mark.parametrize("name", NAMES)


def exchange(world: World, name: str, method: str, target: str, body: str | None = None) -> Exchange:
    """By curl for one worker of each language, by httpx for the others."""
    return (ask_as_people_do if name in BY_CURL else ask)(world.engine.http, method, target, body)


def request_object(done: Exchange, method: str, path: str, **members: Any) -> dict[str, Any]:
    """What a function gets; without the two channel references, which the worker leaves out of what it shows."""
    return {
        "method": method,
        "path": path,
        "path_params": {},
        "query_params": {},
        "headers": done.sent,
        "body": None,
        "trigger": {"type": "http", "path": path, "method": method},
        **members,
    }


def test_a_path_parameter(world: World, name: str) -> None:  # http 32, 42
    done = exchange(world, name, "GET", f"/{name}/items/o-77")
    saw = request_object(done, "GET", f"{name}/items/:id", path_params={"id": "o-77"})
    assert done.answer == expected(200, {"by": name, "saw": saw})


def test_a_path_parameter_that_is_encoded(world: World, name: str) -> None:  # http 28
    done = exchange(world, name, "GET", f"/{name}/items/a%2Fb%20c")
    saw = request_object(done, "GET", f"{name}/items/:id", path_params={"id": "a%2Fb%20c"})
    assert done.answer == expected(200, {"by": name, "saw": saw})


def test_a_query(world: World, name: str) -> None:  # http 33
    done = exchange(world, name, "GET", f"/{name}/items/1?tag=a&tag=b&x&y=1+2%C3%A9")
    query = {"tag": "b", "x": "", "y": "1 2é"}
    saw = request_object(done, "GET", f"{name}/items/:id", path_params={"id": "1"}, query_params=query)
    assert done.answer == expected(200, {"by": name, "saw": saw})


def test_a_json_body(world: World, name: str) -> None:  # http 35, 42
    sent = {"sku": "X9", "qty": 2, "price": 1.5, "tags": ["ä", None, True], "of": {"deep": []}}
    done = exchange(world, name, "POST", f"/{name}/items", json.dumps(sent))
    saw = request_object(done, "POST", f"{name}/items", body=sent)
    more = {"location": f"/{name}/items/7", "x-worker": name}
    assert done.answer == expected(201, {"by": name, "saw": saw}, more)


def test_a_json_body_that_is_none(world: World, name: str) -> None:  # http 35
    done = exchange(world, name, "POST", f"/{name}/items", "{no json")
    saw = request_object(done, "POST", f"{name}/items")
    more = {"location": f"/{name}/items/7", "x-worker": name}
    assert done.answer == expected(201, {"by": name, "saw": saw}, more)


def test_a_raised_error(world: World, name: str) -> None:  # http 51
    answer = exchange(world, name, "GET", f"/{name}/fail").answer
    error_id = answer.body["error"]["error_id"]
    assert re.fullmatch("[0-9a-f]{1,12}", error_id)
    error = {"code": "invocation_failed", "message": "stock is negative", "error_id": error_id}
    assert answer == expected(500, {"error": error})
    assert error_id in world.engine.spawned.output()


def test_a_method_the_worker_did_not_register(world: World, name: str) -> None:  # http 30
    answer = exchange(world, name, "DELETE", f"/{name}/items").answer
    error = {"code": "METHOD_NOT_ALLOWED", "message": "Method Not Allowed"}
    assert answer == expected(405, {"error": error}, {"allow": "POST"})


def test_a_path_the_worker_did_not_register(world: World, name: str) -> None:  # http 1, 27
    answer: Answer = exchange(world, name, "GET", f"/{name}/nothing").answer
    assert answer == expected(404, {"error": {"code": "NOT_FOUND", "message": "Not Found"}})
