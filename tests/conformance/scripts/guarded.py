"""A worker on a guarded port, as an application writes one with the Python package `iii-sdk`, of whatever release.

Arguments: the URL of the port, the token, the name of this worker. Its twin is guarded.mjs. It ends when its stdin ends.
"""

import sys

from iii import InitOptions, register_worker

URL, TOKEN, NAME = sys.argv[1:]

iii = register_worker(URL, InitOptions(worker_name=NAME, headers={"X-Token": TOKEN}))


async def call(function_id, payload):
    try:
        return {"result": await iii.trigger_async({"function_id": function_id, "payload": payload})}
    except Exception as error:
        return {"code": error.code}


async def report(request):
    """What this worker may call, and what it sees."""
    listed = await call("engine::functions::list", {})
    told = {
        "shop": await call("shop::price", {"sku": "A-7"}),
        "hidden": await call("hidden::price", {"sku": "A-7"}),
        "listed": sorted(row["function_id"] for row in listed["result"]["functions"]),
    }
    return {"status_code": 200, "body": told}


async def nothing(request):
    return None


iii.register_function("report", report)
iii.register_function("bad", nothing)
iii.register_trigger({"type": "http", "function_id": "report", "config": {"api_path": NAME, "http_method": "GET"}})
iii.register_trigger({"type": "http", "function_id": "bad", "config": {"api_path": f"{NAME}/bad", "http_method": "GET"}})

sys.stdin.read()
iii.shutdown()
