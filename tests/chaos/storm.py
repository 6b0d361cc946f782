"""An engine under load: twenty workers that call each other, http clients, and a record of how every call ended."""

import contextlib
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import attrs
import trio

from actors import Node
from iii_trio import Engine
from iii_trio.kernel import Call, Function, ModuleOwner
from iii_trio.testing import Disconnected, RawWorker, open_raw_worker

SEATS = 20
CALLERS = 56  # per worker: a call of each is in flight nearly all the time
BROWSERS = 8
CONFIG = {"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}
HTTP = "modules/iii-http/logic"
LOCAL = "local::hold"
REFUSALS = {"function_not_found", "channel_send_failed", "overloaded"}
STOPPED = "invocation_stopped"


@attrs.define(eq=False)
class Held:
    """A call that a handler inside the engine has taken and not yet answered."""

    released: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Seat:
    """One worker's place: its connection is replaced whenever it is cut."""

    number: int
    worker: RawWorker | None = None
    arrived: trio.Event = attrs.field(factory=trio.Event)
    held: list[dict[str, Any]] = attrs.field(factory=list)
    connections: int = 0

    @property
    def function_id(self) -> str:
        return f"seat{self.number}::hold"


@attrs.define(eq=False)
class Storm:
    """Runs the load and counts. `outcomes` holds one entry per ended call, `started` the calls ever made."""

    engine: Engine
    random: Random
    seats: list[Seat] = attrs.field(factory=lambda: [Seat(number) for number in range(SEATS)])
    held: list[Held] = attrs.field(factory=list)
    started: Counter[str] = attrs.field(factory=Counter)
    outcomes: Counter[str] = attrs.field(factory=Counter)
    unexpected: list[Any] = attrs.field(factory=list)
    calming: bool = False

    # --- who takes calls --------------------------------------------------------------------------------------------

    def local_function(self) -> Function:
        return Function(LOCAL, ModuleOwner("storm", "storm"), handler=self.hold)

    async def hold(self, call: Call) -> Any:
        """The handler inside the engine: keeps every call until it is released, then gives back what it got."""
        held = Held()
        self.held.append(held)
        await held.released.wait()
        return call.payload.value

    async def occupy(self, seat: Seat) -> None:
        """Connect again and again until the storm is over and the connection has nothing left to do."""
        while True:
            stream = await trio.open_tcp_stream(*self.engine.address)
            with contextlib.suppress(Disconnected):
                async with open_raw_worker(stream) as worker:
                    await self._work(seat, worker)

    async def _work(self, seat: Seat, worker: RawWorker) -> None:
        await worker.register(seat.function_id)
        await worker.fence()
        seat.worker, seat.held = worker, []
        seat.connections += 1
        seat.arrived.set()
        try:
            while True:
                seat.held.append(await worker.take("invokefunction"))
        finally:
            seat.worker, seat.arrived = None, trio.Event()
            self.unexpected += [message for message in worker.inbox if message["type"] == "invocationresult"]

    async def release(self, share: float) -> None:
        """Let a share of everything that is held be answered."""
        for held in self._pick(self.held, share):
            held.released.set()
        for seat in self.seats:
            if seat.worker is not None:
                await self._answer(seat.worker, self._pick(seat.held, share))

    async def _answer(self, worker: RawWorker, calls: list[dict[str, Any]]) -> None:
        with contextlib.suppress(Disconnected):
            for call in calls:
                await worker.answer(call, result=call["data"])

    def _pick(self, items: list[Any], share: float) -> list[Any]:
        """Take some out, chosen at random."""
        count = len(items) if share >= 1 else int(len(items) * share)
        return [items.pop(self.random.randrange(len(items))) for _ in range(count)]

    # --- who calls --------------------------------------------------------------------------------------------------

    async def keep_calling(self, seat: Seat, number: int) -> None:
        turn = 0
        while not self.calming:
            turn += 1
            await seat.arrived.wait()
            if seat.worker is not None:
                await self._call(seat.worker, self._target(), [seat.number, number, turn])

    def _target(self) -> str:
        return LOCAL if self.random.random() < 0.15 else self.random.choice(self.seats).function_id

    async def _call(self, worker: RawWorker, target: str, data: list[int]) -> None:
        self.started["call"] += 1
        invocation_id = f"{self.started['call']:08x}-0000-4000-8000-000000000000"
        try:
            answer = await worker.call(target, data, invocation_id=invocation_id)
        except Disconnected:
            self.outcomes["disconnect"] += 1
            return
        if "error" in answer:
            self.outcomes[answer["error"]["code"]] += 1
        elif answer["result"] == data:
            self.outcomes["reply"] += 1
        else:
            self.unexpected.append(answer)

    async def browse(self, number: int) -> None:
        """Ask for the held function over HTTP, one connection per request."""
        turn = 0
        while not self.calming:
            turn += 1
            self.started["request"] += 1
            self.outcomes[f"http {await self.request(f'/hold/{number}-{turn}')}"] += 1

    async def request(self, path: str) -> str:
        """The status of the one answer; `refused`, or `cut` if the connection ended before an answer."""
        try:
            stream = await trio.open_tcp_stream(*self.engine.addresses["http"])
        except OSError:
            await trio.sleep(0.01)
            return "refused"
        async with stream:
            answer = await _exchange(stream, path)
        if answer.count(b"HTTP/1.1 ") > 1:
            self.unexpected.append(answer)
        return answer[9:12].decode() if _is_whole(answer) else "cut"


async def _exchange(stream: trio.SocketStream, path: str) -> bytes:
    received = b""
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(f"GET {path} HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n\r\n".encode())
        while data := await stream.receive_some():
            received += data
    return received


def _is_whole(answer: bytes) -> bool:
    """Whether it has the length it announces."""
    head, _, body = answer.partition(b"\r\n\r\n")
    announced = re.search(rb"content-length: (\d+)", head)
    return announced is not None and len(body) == int(announced[1])


# --- what is looked at ------------------------------------------------------------------------------------------------


@attrs.frozen
class Footprint:
    """What an engine at rest holds."""

    tasks: int
    descriptors: int
    functions: int
    triggers: int

    @classmethod
    def of(cls, engine: Engine) -> "Footprint":
        kernel = engine.statistics().kernel
        return cls(
            trio.lowlevel.current_statistics().tasks_living,
            sum(1 for _ in Path("/proc/self/fd").iterdir()),
            kernel.functions.functions,
            kernel.triggers.bound + kernel.triggers.parked,
        )

    def is_back_at(self, before: "Footprint") -> bool:
        """Whether nothing has stayed. Descriptors may be fewer: the collector closes what other tests have left."""
        return self == attrs.evolve(before, descriptors=self.descriptors) and self.descriptors <= before.descriptors


def find(node: Node, path: str) -> Node:
    """The node at a path below a node."""
    for name in path.split("/"):
        (node,) = [child for child in node.children if child.path == f"{node.path}/{name}"]
    return node
