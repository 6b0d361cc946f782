"""What docs/http.md shows runs, and what it says of keys and codes is so."""

import ast
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import httpx2
import trio

from iii_trio import open_engine
from iii_trio.engine import resolve_settings
from iii_trio.modules.http import HttpConfig

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


async def test_the_program() -> None:
    (source,) = blocks("python")
    program: dict[str, Any] = {"__name__": "docs"}
    exec(source, program)
    offer: Callable[[Any], Awaitable[None]] = program["offer"]
    with trio.fail_after(20):
        async with open_engine(program["CONFIG"], host="127.0.0.1", port=0) as engine, engine.worker("shop") as worker:
            await offer(worker)
            host, port = engine.addresses["http"]
            async with httpx2.AsyncClient(base_url=f"http://{host}:{port}") as client:
                refused = await client.get("/orders/7")
                assert (refused.status_code, refused.json()) == (401, {"problem": "who are you?"})
                got = await client.get("/orders/7", headers={"authorization": "Bearer s3cret"})
                assert got.json() == {"id": "7"}
                streamed = await client.post("/upper", content=b"to be or not")
                assert (streamed.headers["content-type"], streamed.content) == ("text/plain", b"TO BE OR NOT")
                described = (await client.get("/openapi.json")).json()
    assert described["paths"]["/orders/{id}"]["get"]["description"] == "One order"


def test_the_configuration(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "config.yaml").write_text(text)
    settings = resolve_settings(tmp_path / "config.yaml")
    (http,) = [entry.options for entry in settings.entries if isinstance(entry.options, HttpConfig)]
    assert http.middleware_ids == ("edge::rate", "edge::auth")


def test_it_names_every_code_that_an_answer_may_have() -> None:
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "iii_trio/modules/http").glob("*.py")]
    calls = [node for text in sources for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    made = [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", None)) == "envelope"]
    codes = {call.args[1].value for call in made if isinstance(call.args[1], ast.Constant)}
    assert {"NOT_FOUND", "MIDDLEWARE_TIMEOUT"} < codes
    assert codes <= set(re.findall("`([A-Z_]+)`", TEXT))


def test_every_key_it_names_is_one() -> None:
    keys = {field.name for field in attrs.fields(HttpConfig)}
    named = {name for name in re.findall(r"`([a-z_]+)(?::[^`]*)?`", TEXT) if name in keys}
    assert named >= {"body_limit", "default_timeout", "ignore_trailing_slash", "middleware", "not_found_function"}
    assert named >= {"openapi", "request_id_header", "server", "tls", "trust_proxy"}
