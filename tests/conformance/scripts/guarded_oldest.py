"""The same as guarded.py for release 0.9 of the Python package, which sends no headers: the token is in the URL."""

import sys

from iii import InitOptions, register_worker

URL, TOKEN, NAME = sys.argv[1:]

iii = register_worker(f"{URL}&token={TOKEN}", InitOptions(worker_name=NAME))


def call(function_id, payload):
    try:
        return {"result": iii.trigger({"function_id": function_id, "payload": payload})}
    except Exception as error:
        return {"code": str(error)}


def report(request):
    listed = call("engine::functions::list", {})
    told = {
        "shop": call("shop::price", {"sku": "A-7"}),
        "hidden": call("hidden::price", {"sku": "A-7"}),
        "listed": sorted(row["function_id"] for row in listed["result"]["functions"]),
    }
    return {"status_code": 200, "body": told}


def nothing(request):
    return None


for function_id, path, handler in (("report", NAME, report), ("bad", f"{NAME}/bad", nothing)):
    iii.register_function({"id": function_id}, handler)
    iii.register_trigger({"type": "http", "function_id": function_id, "config": {"api_path": path, "http_method": "GET"}})

sys.stdin.read()
iii.shutdown()
