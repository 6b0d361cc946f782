"""A worker that answers HTTP requests with their body: `python -m tests.bench.http_worker WORKER_PORT`; runs until killed."""

import asyncio
import logging
import sys

import msgspec
import uvloop

from .http_engine import WORKER
from .peers import Echo, Heard, connect


class _Request(msgspec.Struct):
    body: msgspec.Raw


class Answering(Echo):
    """Its one function gives back the body of the request, under a status."""

    def take(self, message: Heard) -> None:
        if message.type == "invokefunction":
            body = msgspec.json.decode(message.data, type=_Request).body
            head = b'{"type":"invocationresult","invocation_id":"' + message.invocation_id.encode()
            self.say(b"".join((head, self._tail, b'{"status_code":200,"body":', body, b"}}")))


async def run(port: int) -> None:
    worker = await connect(port, lambda: Answering(WORKER))
    worker.say(b'{"type":"registerfunction","id":"' + WORKER.encode() + b'"}')
    worker.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.getLogger("picows").setLevel(logging.ERROR)
    uvloop.run(run(int(sys.argv[1])))
