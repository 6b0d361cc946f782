"""Workers that come, register, call each other, break off in the middle, come back with `reattach` or without, and leave."""

from collections import Counter
from random import Random

import attrs
import trio

from iii_trio.testing import Disconnected, RawWorker
from tests.soak.place import Place

SEATS = 10
CALLERS = 4
CALLS = 250  # per caller
LIVES = 5  # connections per seat
SIZES = (10, 200, 20_000, 500_000)
EXPECTED = {"reply", "function_not_found", "invocation_stopped"}


@attrs.define(eq=False)
class Round:
    """One round and how its calls ended."""

    place: Place
    random: Random
    outcomes: Counter[str] = attrs.field(factory=Counter)
    _calling: int = CALLERS

    async def occupy(self, seat: int) -> None:
        """One worker after the other in the same place, until nobody calls any more."""
        former: tuple[str, str] | None = None
        for life in range(LIVES):
            with trio.CancelScope() as scope:
                async with self.place.worker() as worker:
                    if former is not None and self.random.random() < 0.5:
                        await worker.send("reattach", previous_worker_id=former[0], reattach_token=former[1])
                    former = worker.id, worker.reattach_token
                    await self._work(worker, seat, scope, is_last=life == LIVES - 1)

    async def _work(self, worker: RawWorker, seat: int, scope: trio.CancelScope, *, is_last: bool) -> None:
        await worker.announce(name=f"seat{seat}-{worker.id}", pid=seat)
        await worker.register(*(f"seat{seat}::f{number}" for number in range(10)))
        await worker.send("registertriggertype", id=f"bell{seat}", description="")
        trigger = {"id": f"t{seat}", "trigger_type": f"bell{(seat + 1) % SEATS}", "function_id": f"seat{seat}::f0"}
        await worker.send("registertrigger", **trigger, config={"seat": seat})
        await worker.fence()
        lives_for = self.random.randrange(20, 100)
        while is_last or lives_for:
            lives_for -= 1
            if not self._calling:
                scope.cancel()
            call = await self._next(worker)
            if call is not None:
                await worker.answer(call, result=call["data"])

    async def _next(self, worker: RawWorker) -> dict[str, object] | None:
        with trio.move_on_after(0.2):
            return await worker.take("invokefunction")
        return None

    async def call(self) -> None:
        """Call functions at random, one after the other."""
        async with self.place.worker() as worker:
            for _ in range(CALLS):
                function_id = f"seat{self.random.randrange(SEATS)}::f{self.random.randrange(11)}"  # there is no f10
                data = {"pad": "x" * self.random.choice(SIZES)}
                answer = await worker.call(function_id, data)
                self.outcomes[answer["error"]["code"] if "error" in answer else "reply"] += 1
                assert "error" in answer or answer["result"]["pad"] == data["pad"]
        self._calling -= 1


async def run(place: Place, random: Random) -> None:
    """A thousand calls among ten workers with five connections each. Raises AssertionError if one ends in a wrong way."""
    one = Round(place, random)
    try:
        async with trio.open_nursery() as nursery:
            for seat in range(SEATS):
                nursery.start_soon(one.occupy, seat)
            for _ in range(CALLERS):
                nursery.start_soon(one.call)
    except* Disconnected as group:
        raise AssertionError("the engine cut a worker off that did no wrong") from group
    assert sum(one.outcomes.values()) == CALLERS * CALLS
    assert set(one.outcomes) <= EXPECTED, one.outcomes
