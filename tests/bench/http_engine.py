"""An engine with an HTTP port and two routes: `python -m tests.bench.http_engine PORT WORKER_PORT SERVER`.

`POST /function` is answered by a function in this process, `POST /worker` by `bench::worker`, which a worker on WORKER_PORT
has to bring.
"""

import sys
from typing import Any

import trio

from iii_trio import open_engine

FUNCTION, WORKER = "bench::function", "bench::http_worker"


async def answer(payload: Any) -> Any:
    return {"status_code": 200, "body": payload["body"]}


async def main(port: int, worker_port: int, server: str) -> None:
    config = {
        "workers": [
            {"name": "iii-worker-manager", "config": {"host": "127.0.0.1", "port": worker_port}},
            {"name": "iii-http", "config": {"host": "127.0.0.1", "port": port, "server": server}},
        ]
    }
    async with open_engine(config) as engine, engine.worker("bench") as worker:
        worker.register_function(FUNCTION, answer)
        for path, function_id in (("/function", FUNCTION), ("/worker", WORKER)):
            await worker.register_trigger("http", function_id, {"api_path": path, "http_method": "POST"})
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
