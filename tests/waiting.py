"""Waiting for what sets no event: a state on the other side of a socket, the memory of another process."""

from collections.abc import Callable

import trio


async def eventually(holds: Callable[[], bool], *, within: float = 10.0) -> None:
    """Look again and again until it holds; fails after `within` seconds."""
    with trio.fail_after(within):
        while not holds():  # noqa: ASYNC110  # there is no event to wait for
            await trio.sleep(0.002)
