"""A network on which nobody ever connects, for engines in virtual time."""

from typing import Any

import trio


class Silent(trio.abc.Listener[trio.abc.Stream]):
    """Nobody ever connects."""

    async def accept(self) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class NoNetwork:
    async def open_listeners(self, _host: str, _port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
        await trio.lowlevel.checkpoint()
        return [Silent()]

    def port_of(self, _listeners: Any) -> int:
        return 4711
