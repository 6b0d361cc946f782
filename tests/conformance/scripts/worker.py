"""A worker as an application writes one with the Python package `iii-sdk`, of whatever release is installed.

Arguments: the engine's URL, the name of this worker, the names of all workers of the test. Its twin is worker.mjs:
the two register the same functions and triggers under their names. It ends when its stdin ends.
"""

import ast
import asyncio
import os
import signal
import sys
from importlib.metadata import version

from iii import InitOptions, TriggerAction, register_worker
from iii.triggers import TriggerHandler

URL, NAME, *WORKERS = sys.argv[1:]
CHANNELS = ("request_body", "response")

OLDEST = version("iii-sdk").startswith("0.9.")

iii = register_worker(URL, InitOptions(worker_name=NAME))
notes = []
news = []
bound = {}


class Hook(TriggerHandler):
    """The trigger type `<name>-hook`: fired by the function `<name>::fire`."""

    async def register_trigger(self, config):
        if "refuse" in config.config:
            raise ValueError("nobody may have this one")
        bound[config.id] = config

    async def unregister_trigger(self, config):
        bound.pop(config.id, None)


def register(function, handler):
    """Register `<name>::<function>`: release 0.9 wants an object where later ones take the id."""
    function_id = f"{NAME}::{function}"
    iii.register_function({"id": function_id} if OLDEST else function_id, handler)


async def call(request):
    """Call and wait. Release 0.9 has but a call that blocks its thread."""
    return await (asyncio.to_thread(iii.trigger, request) if OLDEST else iii.trigger_async(request))


def failure(error):
    """What an application learns of a failed call. Release 0.9 raises a plain exception with the error's text."""
    if not OLDEST:
        return {"code": error.code, "text": str(error)}
    told = ast.literal_eval(str(error))
    return {"code": told["code"], "text": f"{told['code']}: {told['message']}"}


def seen(request):
    """The request object as it arrived, without live channels."""
    return {key: value for key, value in request.items() if key not in CHANNELS}


async def show(request):
    return {"status_code": 200, "body": {"by": NAME, "saw": seen(request)}}


async def create(request):
    headers = {"location": f"/{NAME}/items/7", "x-worker": NAME}
    return {"status_code": 201, "headers": headers, "body": {"by": NAME, "saw": seen(request)}}


def fail(request):
    raise ValueError("stock is negative")


async def add(data):
    return {"sum": data["a"] + data["b"], "by": NAME, "caller": data.get("_caller_worker_id")}


async def same(data):
    return data


def note(data):
    notes.append(data)


async def die(data):
    os.kill(os.getpid(), signal.SIGKILL)


async def list_notes(request):
    return {"status_code": 200, "body": notes}


async def relay(request):
    """Call the function `to` with the body; `void` asks for no answer."""
    asked = {"function_id": request["query_params"]["to"], "payload": request["body"]}
    if "void" in request["query_params"]:
        asked["action"] = TriggerAction.Void()
    try:
        result = await call(asked)
    except Exception as error:
        return {"status_code": 200, "body": failure(error)}
    return {"status_code": 200, "body": {"result": result, "worker_id": iii.worker_id}}


async def fire(request):
    """Fire every trigger bound to this worker's own type."""
    for trigger in sorted(bound.values(), key=lambda trigger: trigger.function_id):
        event = {"from": NAME, "config": trigger.config, "body": request["body"]}
        await call({"function_id": trigger.function_id, "payload": event})
    return {"status_code": 200, "body": {"fired": sorted(trigger.function_id for trigger in bound.values())}}


async def observe(request):
    """What `iii.observe` (0.25) comes to when an engine offers no such feature."""
    handle = iii.observe({"function_id": f"{NAME}::add"}, f"{NAME}::note")
    try:
        await handle.ready_async()
    except Exception as error:
        return {"status_code": 200, "body": {"state": handle.state, "code": error.code}}
    return {"status_code": 200, "body": {"state": handle.state}}


async def lists(request):
    """What the typed lists of release 0.9 read, and the news of functions that came last."""
    functions, workers, triggers = await asyncio.to_thread(
        lambda: (iii.list_functions(), iii.list_workers(), iii.list_triggers())
    )
    body = {
        "functions": sorted(row.function_id for row in functions),
        "workers": sorted(row.name or "" for row in workers),
        "triggers": sorted({row.trigger_type for row in triggers}),
        "news": news,
    }
    return {"status_code": 200, "body": body}


def serve(method, path, function, handler):
    register(function, handler)
    config = {"api_path": f"{NAME}/{path}", "http_method": method}
    iii.register_trigger({"type": "http", "function_id": f"{NAME}::{function}", "config": config})


iii.register_trigger_type({"id": f"{NAME}-hook", "description": "fired by hand"}, Hook())
for function, handler in (("add", add), ("same", same), ("note", note), ("die", die)):
    register(function, handler)
serve("GET", "items/:id", "show", show)
serve("POST", "items", "create", create)
serve("GET", "fail", "fail", fail)
serve("POST", "relay", "relay", relay)
serve("POST", "fire", "fire", fire)
if hasattr(iii, "observe"):
    serve("GET", "observe", "observe", observe)
if hasattr(iii, "list_functions"):
    serve("GET", "lists", "lists", lists)
    iii.on_functions_available(lambda functions: news.append(sorted(row.function_id for row in functions)))
if hasattr(iii, "register_service"):
    iii.register_service({"id": NAME, "description": "nothing depends on it"})
for worker in WORKERS:
    iii.register_trigger({"type": f"{worker}-hook", "function_id": f"{NAME}::note", "config": {"refuse": NAME}})
    iii.register_trigger({"type": f"{worker}-hook", "function_id": f"{NAME}::note", "config": {"of": NAME}})
serve("GET", "notes", "notes", list_notes)  # the last: when it answers, all is registered

sys.stdin.read()
iii.shutdown()
