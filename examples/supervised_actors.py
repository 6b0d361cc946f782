"""Two actors under a supervisor, in a plain Trio program: one crashes and is started again, the other never notices."""

import trio

from actors import Actor, ActorStopped, ChildSpec, open_supervisor


class Stock(Actor[int]):
    items = 10

    async def handle(self, order: int) -> int:
        if order < 0:
            raise ValueError(f"an order of {order}")  # no refusal, so it is a bug: the actor crashes
        self.items -= order
        return self.items


class Ledger(Actor[str]):
    lines: tuple[str, ...] = ()

    async def handle(self, line: str) -> tuple[str, ...]:
        self.lines = (*self.lines, line)
        return self.lines


async def main() -> None:
    async with open_supervisor([ChildSpec.actor("ledger", Ledger), ChildSpec.actor("stock", Stock)], "shop") as shop:
        with shop.events.open() as feed:
            for order in (3, -1, 2):
                try:
                    await shop.child("ledger").send(f"{await shop.child('stock').call(order)} left")
                except ActorStopped as stopped:
                    print(f"crashed: {stopped.__cause__}")
                    while (event := await feed.channel.receive()).kind != "restarted":
                        print(f"{event.path} {event.kind}")
        print(await shop.child("ledger").call("closing"))


trio.run(main)
