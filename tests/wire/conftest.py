"""Fixtures of the wire tests: a running engine, in real or in virtual time."""

from collections.abc import AsyncIterator, Iterator

import pytest
from http_rig import SERVER
from trio.testing import MockClock
from wire_client import World, open_world

from iii_trio.kernel import TrioClock
from iii_trio.testing import MemoryNetwork


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An engine without optional modules on a free TCP port."""
    async with open_world() as world:
        yield world


@pytest.fixture
async def memory_world(autojump_clock: MockClock) -> AsyncIterator[World]:
    """The same over memory streams, in virtual time. A test that uses it names `autojump_clock`, too, or time is real."""
    async with open_world(network=MemoryNetwork(), clock=TrioClock()) as world:
        yield world


@pytest.fixture(params=["fast", "hypercorn"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each HTTP server in turn, for what `http_rig.serving` runs; its name."""
    token = SERVER.set(request.param)
    yield request.param
    SERVER.reset(token)
