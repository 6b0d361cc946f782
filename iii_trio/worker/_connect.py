import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from random import Random, SystemRandom
from ssl import SSLContext

from iii_trio.kernel import DEFAULT_NAMESPACE, Ids
from iii_trio.kernel.workers import check_namespace

from ._identity import default_name, identify
from ._nursery import open_bare_nursery
from ._reconnecting import Reconnecting
from ._socket import SocketLink
from ._triggers import Triggers
from ._worker import Worker
from .wire import Address, OpenStream


@asynccontextmanager
async def connect(
    url: str,
    *,
    name: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    description: str | None = None,
    headers: Mapping[str, str] | None = None,
    ssl_context: SSLContext | None = None,
    random: Random | None = None,
    open_stream: OpenStream | None = None,
) -> AsyncIterator[Worker]:
    """A worker of the engine at `url` (`ws://host:port`), for the length of a block (wire-protocol 1 to 3, 15).

    The block begins when an engine has answered; that is waited for as long as it takes, so put a deadline around if
    there is one. A lost connection is made again, after 1 s, doubling to 30 s; what is registered is registered again
    under the same ids. Calls in flight then fail with WorkerDisconnected, those that have not been sent wait for the
    next connection (a thousand at most).

    Args:
      url: where the engine listens for workers.
      name: what the worker is called; `III_WORKER_NAME` or `hostname:pid` unless given.
      namespace: where its functions are registered and, unless told otherwise, looked for.
      description: shown in the engine's list of workers.
      headers: of the handshake; `Authorization: Bearer $III_TOKEN` is added if that variable is set.
      ssl_context: for `wss://`; the system's default unless given.
      random: ids and jitter come from it; the operating system's unless given.
      open_stream: makes the stream to the engine, instead of TCP or TLS to the URL's host.

    At the end of the block what waits to be sent is sent (5 seconds are given for that), the connection is closed, and
    handlers that still run are cancelled. An error of the block, or its cancellation, ends the connection at once and
    arrives bare.

    Raises ValueError for a URL that is none; InvalidNamespace for a blank namespace; WorkerRejected, cancelling the
    block, when the engine does not want this worker.
    """
    address, name = Address.parse(url), name or default_name()
    announcement = identify(name, check_namespace(namespace), description)
    chance = random or SystemRandom()
    from ._socket_channels import SocketEnds
    from .websocket import open_websocket  # trio-websocket is loaded by who connects

    stream = open_stream or partial(address.open_stream, ssl_context)
    headers = _with_token(headers or {})
    dial = partial(open_websocket, address, headers, stream)
    link: SocketLink | None = None
    try:
        async with open_bare_nursery(f"worker {name} has ended") as nursery:
            triggers, ids = Triggers(nursery.start_soon), Ids(chance)
            link = SocketLink(announcement, ids, triggers, nursery)
            connections = Reconnecting(dial, link.outbox, link, chance)
            nursery.start_soon(connections.run, name="worker/connection")
            try:
                await connections.first.wait()
                yield Worker(name, namespace, link, triggers, ids, SocketEnds(address, headers, stream, nursery))
                await connections.stop()
            finally:
                link.close()
    except Exception as error:
        if link is None or link.failure is None:
            raise
        raise link.failure from error
    if link.failure is not None:
        raise link.failure


def _with_token(headers: Mapping[str, str]) -> Mapping[str, str]:
    token = os.environ.get("III_TOKEN")
    if not token or any(name.lower() == "authorization" for name in headers):
        return headers
    return {**headers, "Authorization": f"Bearer {token}"}
