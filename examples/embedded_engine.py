"""An engine, a worker of its own and an HTTP request to it, in one Trio program. Every port is a free one."""

from typing import Any
from urllib.request import urlopen

import trio

from iii_trio import open_engine

CONFIG = {"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}


def fetch(url: str) -> str:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  # our own address
        return f"{answer.status} {answer.read().decode()}"


async def main() -> None:
    async with open_engine(CONFIG, host="127.0.0.1", port=0) as engine, engine.worker("greeter") as worker:

        @worker.function("greet")
        async def greet(request: dict[str, Any]) -> dict[str, Any]:
            greeting = request["query_params"].get("greeting", "Hello")
            return {"status_code": 200, "body": {"message": f"{greeting}, {request['path_params']['name']}!"}}

        await worker.register_trigger("http", "greet", {"api_path": "greet/:name", "http_method": "GET"})
        host, port = engine.addresses["http"]
        print(await trio.to_thread.run_sync(fetch, f"http://{host}:{port}/greet/Ada?greeting=Welcome"))


trio.run(main)
