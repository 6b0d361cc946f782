"""A worker with data channels, written with the Python package `iii-sdk` of whatever release is installed.

Arguments: the engine's URL, the name of this worker. Its twin is streams.mjs. It ends when its stdin ends.
"""

import asyncio
import hashlib
import json
import sys

from importlib.metadata import version

from iii import InitOptions, register_worker

URL, NAME = sys.argv[1:]
iii = register_worker(URL, InitOptions(worker_name=NAME))
OLDEST = version("iii-sdk").startswith("0.9.")


async def fill(data):
    """Write a text and so many bytes to the writer in the data, and end the stream."""
    writer = data["in"]["a list"][0]["writer"]
    await writer.send_message_async(f"from {NAME}")
    await writer.write(bytes(number % 251 for number in range(data["size"])))
    await writer.close_async()
    return {"by": NAME}


async def drain(data):
    """Read all that comes out of the reader in the data."""
    reader = data["deep"]["er"][1]
    texts = []
    reader.on_message(texts.append)
    received = await reader.read_all()
    return {"texts": texts, "size": len(received), "sha": hashlib.sha256(received).hexdigest()}


async def pipe(request):
    """Have the workers `from` and `to` talk through a new channel; tells what arrived."""
    body = request["body"]
    made = await call({"function_id": "engine::channels::create", "payload": {}})
    filled = {"in": {"a list": [{"writer": made["writer"]}]}, "size": body["size"]}
    drained = {"deep": {"er": [None, made["reader"]]}}
    calls = ((f"{body['from']}::fill", filled), (f"{body['to']}::drain", drained))
    results = await asyncio.gather(
        *(call({"function_id": function, "payload": payload}) for function, payload in calls)
    )
    return {"status_code": 200, "body": results[1]}


async def download(request):
    """Answer piece by piece."""
    writer = request["response"]
    await writer.send_message_async(json.dumps({"type": "set_status", "status_code": 206}))
    await writer.send_message_async(json.dumps({"type": "set_headers", "headers": {"content-type": "text/csv"}}))
    for number in range(3):
        await writer.write(b"%d," % number)
    await writer.write(b"x" * 200_000)
    await writer.close_async()


async def upload(request):
    """Tell what the body was."""
    received = await request["request_body"].read_all()
    return {"status_code": 200, "body": {"size": len(received), "sha": hashlib.sha256(received).hexdigest()}}


async def call(request):
    """Call and wait. Release 0.9 has but a call that blocks its thread."""
    return await (asyncio.to_thread(iii.trigger, request) if OLDEST else iii.trigger_async(request))


def register(function, handler):
    """Release 0.9 wants an object where later ones take the id."""
    iii.register_function({"id": function} if OLDEST else function, handler)


def serve(method, function, handler):
    register(f"{NAME}::{function}", handler)
    config = {"api_path": f"{NAME}/{function}", "http_method": method}
    iii.register_trigger({"type": "http", "function_id": f"{NAME}::{function}", "config": config})


register(f"{NAME}::fill", fill)
register(f"{NAME}::drain", drain)
serve("POST", "pipe", pipe)
serve("GET", "download", download)
serve("POST", "upload", upload)  # the last: when it answers, all is registered

sys.stdin.read()
iii.shutdown()
