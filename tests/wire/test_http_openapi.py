"""The description of all routes, over a socket: valid, complete, no more work than there are changes."""

from typing import Any

import pytest
import trio
from http_rig import Answer, Rig, serving
from openapi_spec_validator import OpenAPIV31SpecValidator
from trio.testing import MockClock

from iii_trio.kernel import Function
from iii_trio.modules.http import CorsConfig, HttpConfig, MiddlewareConfig
from iii_trio.protocol import Payload

pytestmark = pytest.mark.usefixtures("server")
ON = HttpConfig(openapi=True)
ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


async def described(rig: Rig) -> Any:
    answer = await rig.ask("GET", "/openapi.json")
    assert (answer.status, answer["content-type"]) == (200, "application/json")
    document = answer.json
    OpenAPIV31SpecValidator(document).validate()
    return document


def function(rig: Rig, name: str, request: Any = None, response: Any = None, **more: Any) -> None:
    """A function with formats."""

    async def run(_: Any) -> Any:
        return {"body": 1}

    formats = (None if one is None else Payload.of(one) for one in (request, response))
    rig.kernel.functions.add(
        Function(name, rig.host, more.pop("namespace", "default"), run, more.pop("description", None), *formats)
    )


async def test_without_the_key_there_is_nothing(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        assert (await rig.ask("GET", "/openapi.json")).status == 404


async def test_without_routes_it_is_valid(autojump_clock: MockClock) -> None:
    async with serving(ON) as rig:
        document = await described(rig)
        assert (document["openapi"], document["paths"]) == ("3.1.0", {})


async def test_a_route_without_formats(autojump_clock: MockClock) -> None:
    async with serving(ON) as rig:
        function(rig, "orders::get")
        rig.trigger("orders::get", "orders/:id")
        operation = (await described(rig))["paths"]["/orders/{id}"]["get"]
        assert operation == {
            "operationId": "orders::get",
            "tags": ["orders"],
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            ],
            "responses": {
                "500": {"description": "the function failed", "content": ERROR},
                "503": {"description": "the engine is stopping, or too busy", "content": ERROR},
                "504": {"description": "no answer in time"},
                "default": {"description": "what the function answers"},
            },
        }


async def test_formats_become_parameters_body_and_answers(autojump_clock: MockClock) -> None:
    request = {
        "type": "object",
        "properties": {
            "path_params": {"type": "object", "properties": {"id": {"type": "integer"}}},
            "query_params": {"type": "object", "properties": {"page": {"type": "integer"}}, "required": ["page"]},
            "headers": {"type": "object", "properties": {"x-key": {"type": "string"}, "Authorization": {}}},
            "body": {"$ref": "#/$defs/Order"},
        },
        "required": ["body"],
        "$defs": {
            "Order": {"type": "object", "properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/Order"}}}}
        },
    }
    response = {
        "anyOf": [
            {"properties": {"status_code": {"const": 201}, "body": {"type": "string"}}, "description": "made"},
            {"properties": {"status_code": {"enum": [404, 409]}, "body": {"type": "null"}}},
            {"properties": {"status_code": {"const": 204}}},
            {"type": "null"},
            {
                "properties": {
                    "body": {"type": "string"},
                    "headers": {"properties": {"Content-Type": {"const": "text/csv; charset=utf-8"}}},
                }
            },
        ]
    }
    async with serving(ON) as rig:
        function(rig, "o", request, response, description="Changes an order")
        function(rig, "c")
        rig.trigger("o", "/orders/:id", "PUT", condition_function_id="c")
        document = await described(rig)
        operation = document["paths"]["/orders/{id}"]["put"]
        assert operation["description"] == "Changes an order"
        assert operation["parameters"] == [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
            {"name": "page", "in": "query", "required": True, "schema": {"type": "integer"}},
            {"name": "x-key", "in": "header", "required": False, "schema": {"type": "string"}},
        ]
        order = {"$ref": "#/components/schemas/o.request/$defs/Order"}
        assert operation["requestBody"] == {"required": True, "content": {"application/json": {"schema": order}}}
        assert document["components"]["schemas"]["o.request"]["$defs"]["Order"]["properties"]["lines"]["items"] == order
        answers = operation["responses"]
        assert sorted(answers) == ["200", "201", "204", "404", "409", "413", "422", "500", "503", "504"]
        assert answers["201"] == {
            "description": "made",
            "content": {"application/json": {"schema": {"type": "string"}}},
        }
        assert answers["200"]["content"] == {"text/csv": {"schema": {"type": "string"}}}
        assert "content" not in answers["204"]
        assert answers["422"]["content"] == ERROR
        assert answers["413"]["description"] == f"a JSON body of more than {64 << 20} bytes"


@pytest.mark.parametrize(
    "odd",
    [
        [],
        "text",
        {"type": 5},
        {"properties": {"body": {"$ref": "#/$defs/nothing"}}},
        {"properties": {"body": {"$ref": "https://elsewhere/x.json"}}},
        {"properties": {"body": {"type": "string", "pattern": "("}}},
        {"name": "old", "type": "object", "required": True, "body": [{"name": "x", "type": "string"}]},
        {"properties": {"sku": {"type": "string"}}},
        {"properties": {"body": {"description": "x" * 70_000}}},
    ],
)
async def test_a_format_that_cannot_be_described_is_left_out(odd: Any, autojump_clock: MockClock) -> None:
    async with serving(ON) as rig:
        function(rig, "f", odd, odd)
        rig.trigger("f", "/a", "POST")
        document = await described(rig)
        operation = document["paths"]["/a"]["post"]
        assert "requestBody" not in operation
        assert "default" in operation["responses"]
        assert list(document["components"]["schemas"]) == ["Error"]


async def test_references_into_lists_and_answers_with_other_headers(autojump_clock: MockClock) -> None:
    request = {
        "anyOf": [
            {"type": "null"},
            {
                "properties": {"query_params": {"properties": {"q": {"$ref": "#/anyOf/1/$defs/a~1b"}}}},
                "$defs": {"a/b": {}},
            },
        ]
    }
    response = {
        "properties": {
            "status_code": {"$ref": "#/x-statuses/0"},
            "headers": {"properties": {"location": {"const": "/a"}, "content-type": {"type": "string"}}},
            "body": {"$ref": "#/properties"},
        },
        "x-statuses": [{"const": 202}],
    }
    async with serving(ON) as rig:
        function(rig, "f", request, response)
        rig.trigger("f", "/a", "POST")
        rig.trigger("f", "/b", "POST")
        document = await described(rig)
        first, second = (document["paths"][path]["post"] for path in ("/a", "/b"))
        assert first["parameters"][0]["schema"] == {"$ref": "#/components/schemas/f.request/anyOf/1/$defs/a~1b"}
        assert "requestBody" not in first
        assert list(first["responses"]["202"]["content"]) == ["application/json"]
        assert second["parameters"][0]["schema"] == {"$ref": "#/components/schemas/f.request.2/anyOf/1/$defs/a~1b"}


async def test_a_format_that_nests_without_end_is_left_out(autojump_clock: MockClock) -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"properties": {"body": deep}}
    async with serving(ON) as rig:
        function(rig, "f", deep)
        rig.trigger("f", "/a", "POST")
        assert "requestBody" not in (await described(rig))["paths"]["/a"]["post"]


async def test_a_format_that_refers_to_itself_at_once(autojump_clock: MockClock) -> None:
    async with serving(ON) as rig:
        function(rig, "f", {"properties": {"query_params": {"$ref": "#/properties/query_params"}}})
        rig.trigger("f", "/a")
        answer = await rig.ask("GET", "/openapi.json")  # valid JSON Schema, but one that no validator can follow
        assert "parameters" not in answer.json["paths"]["/a"]["get"]


async def test_paths_that_openapi_cannot_tell_apart(autojump_clock: MockClock) -> None:
    async with serving(ON) as rig:
        for number, (path, method) in enumerate(
            [
                ("/u/:id", "GET"),
                ("/u/:userId", "POST"),
                ("/u/{*rest}", "GET"),
                ("/w/{*rest}", "GET"),
                ("/x/:a b/:a b", "GET"),
                ("/straße", "GET"),
                ("/lit/{{x}}", "GET"),
                ("/o", "OPTIONS"),
            ]
        ):
            rig.trigger(f"f{number}", path, method)
        rig.trigger("f0", "/again", "GET")
        rig.trigger("f0", "/other", "GET", namespace="shop")
        paths = (await described(rig))["paths"]
        assert sorted(paths) == ["/again", "/other", "/u/{id}", "/w/{rest}", "/x/{a_b}/{a_b_2}"]
        assert sorted(paths["/u/{id}"]) == ["get", "post"]
        assert [one["name"] for one in paths["/u/{id}"]["post"]["parameters"]] == ["id"]
        assert paths["/w/{rest}"]["get"]["parameters"][0]["description"].startswith("All that remains")
        names = [paths[path]["get"]["operationId"] for path in ("/again", "/u/{id}", "/other")]
        assert names == ["f0", "f0.2", "shop/f0"]


async def test_head_has_no_content_and_middleware_may_answer_anything(autojump_clock: MockClock) -> None:
    response = {"properties": {"status_code": {"const": 200}, "body": {}}}
    async with serving(HttpConfig(openapi=True, body_limit=10)) as rig:
        function(rig, "f", None, response)
        rig.trigger("f", "/a", "HEAD", middleware_function_ids=["m"])
        rig.trigger("f", "/a", "POST")
        item = (await described(rig))["paths"]["/a"]
        assert all("content" not in answer for answer in item["head"]["responses"].values())
        assert item["head"]["responses"]["default"] == {"description": "what a middleware answers"}
        assert "default" not in item["post"]["responses"]
        assert item["post"]["responses"]["413"]["description"] == "a body of more than 10 bytes"


async def test_a_route_of_that_path_goes_before_it(autojump_clock: MockClock) -> None:
    async with serving(ON) as rig:
        rig.route("/:anything", {"body": "mine"})
        assert (await described(rig))["openapi"] == "3.1.0"
        rig.route("openapi.json", {"body": "mine"})
        assert (await rig.ask("GET", "/openapi.json")).json == "mine"


async def test_other_methods_and_cors(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(openapi=True, cors=CorsConfig(allowed_origins=("https://a",)))) as rig:
        answer = await rig.ask("POST", "/openapi.json")
        assert (answer.status, answer["allow"]) == (405, "GET")
        assert (await rig.ask("HEAD", "/openapi.json")).status == 404
        assert (await rig.ask("OPTIONS", "/openapi.json"))["allow"] == "GET"
        granted = await rig.ask("GET", "/openapi.json", {"origin": "https://a"})
        assert granted["access-control-allow-origin"] == "https://a"


async def test_global_middleware_guards_it(autojump_clock: MockClock) -> None:
    async with serving(HttpConfig(openapi=True, middleware=(MiddlewareConfig("g"),))) as rig:
        rig.function("g", {"action": "respond", "response": {"status_code": 401}})
        assert (await rig.ask("GET", "/openapi.json")).status == 401


async def test_it_follows_every_change_and_is_made_no_more_often(autojump_clock: MockClock) -> None:
    async with serving(ON) as rig:
        document = rig.module._gateway._document
        assert document is not None
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await rig.ask("GET", "/openapi.json"))

        for number in range(120):
            rig.trigger(f"f{number}", f"/r{number}")
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert {len(answer.json["paths"]) for answer in answers} == {120}
        assert document.times_made == 1
        await ask()
        assert document.times_made == 1
        trigger = rig.trigger("f0", "/more")
        assert "/more" in (await described(rig))["paths"]
        rig.kernel.triggers.remove(trigger.id)
        assert "/more" not in (await described(rig))["paths"]
        function(rig, "f0", {"properties": {"query_params": {"properties": {"q": {}}}}})
        assert (await described(rig))["paths"]["/r0"]["get"]["parameters"][0]["name"] == "q"
        assert document.times_made == 4
