"""The engine under test, a process of its own: `python -m tests.soak.engine`.

Its first line is its two ports: of workers, and of HTTP. It answers every line it reads with one line of JSON, a `Sample` of itself, and ends when its
input does.
"""

import gc
import json
import os
import sys
from pathlib import Path

import attrs
import trio

from iii_trio import Engine, open_engine

from .watch import Sample

CONFIG = {"workers": [{"name": "iii-worker-manager"}, {"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}


async def main() -> None:
    """Run until the input ends."""
    async with open_engine(CONFIG, host="127.0.0.1", port=0) as engine:
        print(engine.address[1], engine.addresses["http"][1], flush=True)
        lines = trio.wrap_file(sys.stdin)
        while await lines.readline():
            print(json.dumps(attrs.asdict(sample(engine))), flush=True)


def sample(engine: Engine) -> Sample:
    """What it holds at this moment, garbage apart."""
    gc.collect()
    kernel = engine.statistics().kernel
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Sample(
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        tasks=trio.lowlevel.current_statistics().tasks_living,
        workers=kernel.workers.connected,
        names=kernel.workers.names,
        functions=kernel.functions.functions,
        triggers=kernel.triggers.bound + kernel.triggers.parked,
        trigger_types=kernel.triggers.types,
        in_flight=kernel.invocations.in_flight,
        calls=kernel.invocations.opened,
        crashed=engine.statistics().connections.crashed,
        channels=kernel.channels.open,
    )


if __name__ == "__main__":
    trio.run(main)
