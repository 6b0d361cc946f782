"""A worker with data channels, written with the Python package `iii-sdk` of whatever release is installed.

Arguments: the engine's URL, the name of this worker. Its twin is streams.mjs. It ends when its stdin ends.
"""

import asyncio
import hashlib
import json
import sys

from importlib.metadata import version

from iii import InitOptions, register_worker

try:
    from iii_helpers.http import http
except ImportError:  # before release 0.20
    from iii import http

URL, NAME = sys.argv[1:]
iii = register_worker(URL, InitOptions(worker_name=NAME))
OLDEST = version("iii-sdk").startswith("0.9.")
acknowledged = asyncio.Semaphore(0)


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


@http
async def store(req, res):
    """Take a body of any size, and tell what it was."""
    size, sha = 0, hashlib.sha256()
    async for piece in req.request_body.stream:
        size += len(piece)
        sha.update(piece)
    await res.status(201)
    await res.headers({"content-type": "application/json", "x-kind": req.headers["content-type"]})
    await res.writer.write(json.dumps({"size": size, "sha": sha.hexdigest()}).encode())
    await res.writer.close_async()


@http
async def fetch(req, res):
    """Send as many pieces of 64 KiB as the path says, each filled with its number."""
    await res.status(206)
    await res.headers({"content-type": "application/octet-stream"})
    for number in range(int(req.path_params["count"])):
        await res.writer.write(bytes([number % 256]) * 65536)
    await res.writer.close_async()


@http
async def events(req, res):
    """Send three events, each but the first when the one before it has been acknowledged."""
    await res.headers({"content-type": "text/event-stream"})
    for number in range(3):
        await res.writer.write(b"data: %d\n\n" % number)
        await acknowledged.acquire()
    await res.writer.close_async()


async def acknowledge(request):
    """Say that an event has arrived."""
    acknowledged.release()
    return {"status_code": 204}


async def call(request):
    """Call and wait. Release 0.9 has but a call that blocks its thread."""
    return await (asyncio.to_thread(iii.trigger, request) if OLDEST else iii.trigger_async(request))


def register(function, handler):
    """Release 0.9 wants an object where later ones take the id."""
    iii.register_function({"id": function} if OLDEST else function, handler)


def serve(method, function, handler, rest=""):
    register(f"{NAME}::{function}", handler)
    config = {"api_path": f"{NAME}/{function}{rest}", "http_method": method}
    iii.register_trigger({"type": "http", "function_id": f"{NAME}::{function}", "config": config})


register(f"{NAME}::fill", fill)
register(f"{NAME}::drain", drain)
serve("POST", "pipe", pipe)
serve("GET", "download", download)
serve("POST", "store", store)
serve("GET", "fetch", fetch, "/:count")
serve("GET", "events", events)
serve("POST", "acknowledge", acknowledge)
serve("POST", "upload", upload)  # the last: when it answers, all is registered

sys.stdin.read()
iii.shutdown()
