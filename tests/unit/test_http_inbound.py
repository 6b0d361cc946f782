"""The receiving half of a connection: never two that read at once, whoever asks and whoever watches."""

from typing import Any

import attrs
import trio
import trio.testing

from iii_trio.modules.http.fast_inbound import Inbound
from iii_trio.sockets import own_stream


@attrs.define(eq=False)
class Looking(trio.abc.Instrument):
    """Asks after every step of every task whether a watch may begin: what the server's timer might do there."""

    inbound: Inbound
    answers: list[bool] = attrs.field(factory=list)

    def after_task_step(self, task: Any) -> None:
        self.answers.append(self.inbound.may_be_watched)


async def test_no_watch_begins_while_one_is_ended_for_a_reader() -> None:
    client, server = trio.testing.memory_stream_pair()
    inbound = Inbound(own_stream(server, memoryview(b"")), lambda: None)
    looking = Looking(inbound)
    async with trio.open_nursery() as nursery:
        inbound.watch(nursery)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(inbound.more)
        trio.lowlevel.add_instrument(looking)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(looking)
        await client.send_all(b"x")
    assert len(looking.answers) > 2
    assert not any(looking.answers)
    assert inbound.may_be_watched
    assert bytes(inbound.data) == b"x"
