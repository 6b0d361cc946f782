"""Several clients in one process, each with the name that the SDK gives it: the same for all.

Arguments: the engine's URL, then one prefix per client. Each serves `<prefix>::who`. It ends when its stdin ends.
"""

import sys

from iii import register_worker

URL, *PREFIXES = sys.argv[1:]


def serve(prefix):
    iii = register_worker(URL)
    iii.register_function(f"{prefix}::who", lambda data: {"name": prefix})
    return iii


clients = [serve(prefix) for prefix in PREFIXES]
sys.stdin.read()
for client in clients:
    client.shutdown()
