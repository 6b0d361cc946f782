"""Listeners of the machine's network: what a port that cannot be had is refused with."""

import pytest

from iii_trio.network import AddressTaken, TcpNetwork


async def test_a_port_that_this_process_has_is_not_blamed_on_somebody_else() -> None:
    network = TcpNetwork()
    (first,) = await network.open_listeners("127.0.0.1", 0)
    async with first:
        port = network.port_of([first])
        with pytest.raises(AddressTaken, match=f"{port} is already in use by another listener of this process"):
            await network.open_listeners("127.0.0.1", port)
