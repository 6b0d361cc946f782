"""A network that tests decide on: what names resolve to, and which addresses lead to which local server."""

from collections.abc import Mapping, Sequence

import attrs
import trio


@attrs.define
class FakeOutbound:
    """Resolves by a script: each lookup of a name takes the next of its answers, the last one stays.

    An answer is a list of addresses or an error. `ports` says where connections really go, by address; every other
    address refuses.
    """

    names: dict[str, list[Sequence[str] | OSError]] = attrs.field(factory=dict)
    ports: Mapping[str, int] = attrs.field(factory=dict)
    lookups: list[str] = attrs.field(factory=list)
    connected: list[tuple[str, int]] = attrs.field(factory=list)
    stuck: set[str] = attrs.field(factory=set)
    """Names whose lookup never ends."""

    looking: trio.Event = attrs.field(factory=trio.Event)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        self.lookups.append(host)
        self.looking.set()
        if host in self.stuck:
            await trio.sleep_forever()
        answers = self.names.get(host, [OSError("no such name")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def connect(self, address: str, port: int) -> trio.abc.Stream:
        self.connected.append((address, port))
        if address not in self.ports:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError(f"{address} refuses")
        return await trio.open_tcp_stream("127.0.0.1", self.ports[address])
