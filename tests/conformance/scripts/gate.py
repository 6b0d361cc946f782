"""The worker that guards a port, as an application writes one with the Python package `iii-sdk`.

Argument: the URL of an open port. It offers an auth function, a registration hook and a middleware, and something to
call behind them. It ends when its stdin ends.
"""

import sys

from iii import InitOptions, register_worker

iii = register_worker(sys.argv[1], InitOptions(worker_name="gate"))
refused = {}


async def auth(request):
    """Everybody is refused once, whatever the token: SDKs try again."""
    query = request["query_params"]
    name = query["name"][0]
    token = request["headers"].get("x-token") or query.get("token", [""])[0]
    if token != f"token-of-{name}":
        raise ValueError("wrong token")
    if not refused.setdefault(name, []):
        refused[name].append(request["ip_address"])
        raise ValueError("come again")
    return {"context": {"worker": name}, "function_registration_prefix": f"of-{name}"}


async def on_function(request):
    if request["function_id"] == "bad":
        raise ValueError("not here")
    return {"description": f"of {request['context']['worker']}"}


async def proxy(request):
    payload = {**request["payload"], "through": request["context"]["worker"]}
    return await iii.trigger_async({"function_id": request["function_id"], "payload": payload})


async def price(data):
    return {"price": 5, "through": data["through"]}


async def show(request):
    return {"status_code": 200, "body": refused}


iii.register_function("gate::auth", auth)
iii.register_function("gate::on-function", on_function)
iii.register_function("gate::proxy", proxy)
iii.register_function("shop::price", price)
iii.register_function("hidden::price", price)
iii.register_function("gate::show", show)
iii.register_trigger(
    {"type": "http", "function_id": "gate::show", "config": {"api_path": "gate", "http_method": "GET"}}
)

sys.stdin.read()
iii.shutdown()
