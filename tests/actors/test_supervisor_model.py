"""A supervisor against a model of it: any children, any strategy, any limit, anything that may happen to them."""

from typing import Any

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import ActorStopped, Child, ChildSpec, Crashed, RestartLimitReached, Supervisor


@attrs.define
class Model:
    """What should become of the children, said as plainly as possible."""

    strategy: str
    restart: list[str]
    intensity: int
    period: float
    alive: list[bool] = attrs.field(init=False)
    incarnation: list[int] = attrs.field(init=False)
    window: list[float] = attrs.field(factory=list)
    escalated: bool = False

    def __attrs_post_init__(self) -> None:
        self.alive = [True] * len(self.restart)
        self.incarnation = [1] * len(self.restart)

    def end(self, index: int, now: float, *, crashed: bool) -> None:
        self.alive[index] = False
        if self.restart[index] == "temporary" or (self.restart[index] == "transient" and not crashed):
            return
        self.window = [time for time in self.window if time >= now - self.period]
        if len(self.window) >= self.intensity:
            self.escalated = True
            self.alive = [False] * len(self.alive)
            return
        self.window.append(now)
        first = {"one_for_one": index, "one_for_all": 0, "rest_for_one": index}[self.strategy]
        last = index if self.strategy == "one_for_one" else len(self.alive) - 1
        for taken in range(first, last + 1):
            self.alive[taken] = self.restart[taken] != "temporary"
            self.incarnation[taken] += self.alive[taken]


steps = st.tuples(st.sampled_from(["crash", "finish", "wait"]), st.integers(0, 3), st.sampled_from([0.5, 2.0, 6.0]))
restarts = st.lists(st.sampled_from(["permanent", "transient", "temporary"]), min_size=1, max_size=4)
strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(strategies, restarts, st.integers(0, 4), st.sampled_from([1.0, 5.0]), st.lists(steps, max_size=15))
def test_a_supervisor_does_what_its_model_does(
    strategy: Any, restart: list[str], intensity: int, period: float, script: list[tuple[str, int, float]]
) -> None:
    model = Model(strategy, restart, intensity, period)

    async def start(*, task_status: trio.TaskStatus[trio.Event]) -> None:
        finish = trio.Event()
        task_status.started(finish)
        await finish.wait()

    async def main() -> None:
        specs = [ChildSpec(f"{index}", start, kind) for index, kind in enumerate(restart)]  # type: ignore[arg-type]
        supervisor = Supervisor("root", specs, strategy=strategy, intensity=intensity, period=period)
        ended: list[Child] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Child("root", "root", ended.append).run, supervisor.run)
            await wait_all_tasks_blocked()
            for action, index, seconds in script:
                await play(supervisor, action, index, seconds)
                await wait_all_tasks_blocked()
                compare(supervisor)
            supervisor.request_stop()
        [root] = ended
        assert (isinstance(root.exit, Crashed) and isinstance(root.exit.error, RestartLimitReached)) == model.escalated

    async def play(supervisor: Supervisor, action: str, index: int, seconds: float) -> None:
        if action == "wait":
            await trio.sleep(seconds)
        elif index < len(restart) and model.alive[index]:
            if action == "crash":
                supervisor.kill_child(f"{index}")
            else:
                supervisor.child(f"{index}").set()
            model.end(index, trio.current_time(), crashed=action == "crash")

    def compare(supervisor: Supervisor) -> None:
        nodes = supervisor.tree().children
        assert [node.state == "running" for node in nodes] == model.alive
        assert [node.incarnation for node in nodes] == model.incarnation
        assert supervisor.tree().state == ("stopped" if model.escalated else "running")
        for index, alive in enumerate(model.alive):
            try:
                supervisor.child(f"{index}")
            except ActorStopped:
                assert not alive
            else:
                assert alive
        if not model.escalated:
            now = trio.current_time()
            assert supervisor.tree().restarts_in_window == sum(time >= now - period for time in model.window)

    trio.run(main, clock=MockClock(autojump_threshold=0))
