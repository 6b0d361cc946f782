"""A worker to be stopped: `python tests/chaos/stopped_worker.py PORT` offers `stopped::echo` and says `ready`."""

import sys

import trio

from iii_trio import connect
from iii_trio.protocol import Json


async def main(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}", name="stopped") as worker:

        @worker.function("stopped::echo")
        async def echo(payload: Json) -> Json:
            return payload

        await worker.trigger("stopped::echo", {})  # by then the engine has it
        print("ready", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
