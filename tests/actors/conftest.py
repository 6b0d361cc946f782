"""Everything here runs in virtual time: seconds pass at once when everybody waits."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock


def run_in_virtual_time(
    fn: Callable[[], Awaitable[object]], *, clock: object, instruments: Sequence[trio.abc.Instrument]
) -> object:
    assert clock is None, "a clock of its own is not for tests of this directory"
    return trio.run(fn, clock=MockClock(autojump_threshold=0), instruments=instruments)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time))
