"""The other server behind the seam: hypercorn's protocols, HTTP/1.1 and over TLS HTTP/2, on listeners that the engine gives."""

import ssl
from collections.abc import Callable

import attrs
import trio

from iii_trio.protocol.errors import IIIError

from .answer import Dates
from .config import TlsConfig
from .hypercorn_connection import Connection
from .hypercorn_protocol import Settings, hypercorn_config
from .listening import Listening
from .seam import FindShortcut, Listeners, RequestHandler, ServerLimits


@attrs.define(eq=False)
class HypercornServer:
    """Serves HTTP/1.1, and over TLS HTTP/2, with hypercorn's protocol classes.

    hypercorn's own TCP server is not used: it writes under a shield without a deadline, forgets to close the channel of
    every request, and hangs when an answer is given while more than ten pieces of the body are unread.

    What it cannot do, because h11 does not: keep an HTTP/1.0 connection alive, take raw UTF-8 in a target, a request
    without `host` or `transfer-encoding: gzip, chunked`, wait with `100 Continue` until the body is read.

    Args:
      now: seconds since the epoch, for `date`.
      limits: what is taken from a peer.
      tls: speak TLS with this context, and HTTP/2 with clients that ask for it.
    """

    now: Callable[[], float]
    limits: ServerLimits = attrs.field(factory=ServerLimits)
    tls: ssl.SSLContext | None = None
    _listening: Listening[Connection] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listening = Listening(self.limits.connections)

    async def serve(
        self,
        listeners: Listeners,
        handler: RequestHandler,
        *,
        find_shortcut: FindShortcut | None = None,  # noqa: ARG002  # it needs a task for each request anyway
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and answer until cancelled, or until `request_stop` and the last answer."""
        settings = Settings(handler, self.limits, hypercorn_config(), self._listening.stop, Dates(self.now))

        def converse(stream: trio.abc.Stream, _: trio.Nursery) -> Connection:
            return Connection(stream, settings, self.tls)

        await self._listening.serve(listeners, converse, task_status=task_status)

    def stop_accepting(self) -> None:
        self._listening.stop_accepting()

    def request_stop(self) -> None:
        self._listening.request_stop()


def open_tls(config: TlsConfig) -> ssl.SSLContext:
    """The TLS context of a server: TLS 1.2 and up, HTTP/2 and HTTP/1.1. Raises TlsError naming the file that cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(config.cert_file, config.key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise TlsError(config, error) from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, which nobody could type in")


class TlsError(IIIError):
    """The certificate or its key cannot be used. `config` names the files, the cause says why."""

    def __init__(self, config: TlsConfig, cause: Exception) -> None:
        super().__init__(
            f"tls: cannot use cert_file {config.cert_file} with key_file {config.key_file}: {cause}; "
            "both must be readable PEM files that belong together, the key without a passphrase"
        )
        self.config = config
