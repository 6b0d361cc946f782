"""An engine and an endpoint elsewhere that a worker registers as functions, for the tests of HTTP-invoked functions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from endpoint import Endpoint, Script, open_endpoint
from wire_client import MODERN, Client, World, open_world

ANYTHING = {"security": {"require_https": False, "block_private_ips": False}}
SECRETS = {"TOKEN": "tok-1", "KEY": "key-1", "SECRET": "sec-1", "USER": "ann", "PASSWORD": "pa:ss"}


def configured(config: dict[str, Any]) -> dict[str, Any]:
    return {"workers": [{"name": "iii-http-functions", "config": config}]}


@attrs.define
class Scene:
    """An engine, an endpoint, the worker that registers it and another one that calls."""

    world: World
    endpoint: Endpoint
    owner: Client
    caller: Client

    async def register(self, function_id: str = "f", path: str = "/", **invocation: Any) -> str:
        said = {"url": self.endpoint.url(path), **invocation}
        await self.owner.register(function_id, invocation=said)
        await self.owner.fence()
        return function_id

    async def call(self, path: str, data: Any = None, **invocation: Any) -> dict[str, Any]:
        """What a call of the endpoint's path comes to: `{}`, `{result}` or `{error}`."""
        function_id = await self.register("f", path, **invocation)
        outcome = await self.caller.call(function_id, data)
        return {key: outcome[key] for key in ("result", "error") if key in outcome}


@asynccontextmanager
async def open_scene(config: dict[str, Any] = ANYTHING, **answers: Script) -> AsyncIterator[Scene]:
    async with open_endpoint(**answers) as endpoint, open_world(configured(config), env=SECRETS) as world:
        yield Scene(world, endpoint, await world.connect(MODERN), await world.connect(MODERN))


def error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
