"""Registers HTTP endpoints as functions with the PyPI package `iii-sdk`, of whatever release is installed, and calls them.

Arguments: the engine's URL, then JSON: `{"functions": {id: invocation}, "calls": [[id, payload]], "void": id, "gone": id}`.
Prints one line of JSON per call, then one for the call of `gone` after it was unregistered. Its twin is http_functions.mjs.
"""

import ast
import json
import sys
from importlib.metadata import version

from iii import InitOptions, TriggerAction, register_worker

try:
    from iii import HttpInvocationConfig
except ImportError:  # later releases keep it in a package of helpers
    from iii_helpers.http import HttpInvocationConfig

URL, SCENE = sys.argv[1], json.loads(sys.argv[2])
OLDEST = version("iii-sdk").startswith("0.9.")

iii = register_worker(URL, InitOptions(worker_name="http-functions"))


def register(function_id, invocation):
    described = {"description": "elsewhere", "metadata": {"of": "partner"}}
    config = HttpInvocationConfig(**invocation)
    if OLDEST:
        return iii.register_function({"id": function_id, **described}, config)
    return iii.register_function(function_id, config, **described)


def failure(error):
    if OLDEST:
        told = ast.literal_eval(str(error))
        return {"code": told["code"], "message": told["message"]}
    return {"code": error.code, "message": error.message}


def call(function_id, payload):
    try:
        outcome = {"result": iii.trigger({"function_id": function_id, "payload": payload})}
    except Exception as error:
        outcome = {"error": failure(error)}
    print(json.dumps(outcome), flush=True)


references = {function_id: register(function_id, invocation) for function_id, invocation in SCENE["functions"].items()}
for function_id, payload in SCENE["calls"]:
    call(function_id, payload)
iii.trigger({"function_id": SCENE["void"], "payload": {"void": True}, "action": TriggerAction.Void()})
references[SCENE["gone"]].unregister()
call(SCENE["gone"], {})
sys.stdin.read()
iii.shutdown()
