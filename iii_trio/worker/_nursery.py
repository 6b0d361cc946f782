from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_bare_nursery(reason: str) -> AsyncIterator[trio.Nursery]:
    """A nursery that ends with its block, for background tasks of something a user opened.

    When the block ends its tasks are cancelled with `reason`. One error, of the block or of a task, leaves it as it is
    and not in a group; several that have nothing to do with each other still come as a group.
    """
    error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel(reason=reason)
    except BaseExceptionGroup as group:
        errors = [leaf for leaf in _leaves(group) if not isinstance(leaf, trio.Cancelled)]
        if len(errors) != 1:
            raise
        error = errors[0]
    if error is not None:
        raise error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
