"""How any response goes out from the connection's own task: whole, or as a stream."""

import logging
from collections.abc import Awaitable, Callable

import attrs
import trio

from iii_trio.sockets import BROKEN, ByteStream

from .answer import CRASHED, LAST_CHUNK, Framing, Moment, abandon, encode_head, framing_of
from .fast_outbound import Outbound
from .head import Head
from .seam import Response, StreamBroken

_log = logging.getLogger("iii_trio.http")


@attrs.frozen(eq=False)
class Responder:
    """Sends the responses of one connection, one at a time.

    Args:
      left: called when the client turns out to have left while it is sent a stream; must not wait.
    """

    _stream: ByteStream
    _outbound: Outbound
    _moment: Moment
    _left: Callable[[], object]

    async def send(self, response: Response, head: Head, *, goes_on: bool) -> bool:
        """Send the response to the request with this head; returns whether the connection can go on, if it is to (`goes_on`).

        Raises one of `BROKEN`.
        """
        framing = framing_of(response, is_head=head.method == "HEAD", version=head.version)
        goes_on = goes_on and not framing.ends_connection
        connection = b"close" if not goes_on else b"keep-alive" if head.version == "1.0" else b""
        data = encode_head(response, framing, self._moment.date, connection)
        if data is None:
            _log.error("a header field of the answer to %s %r has a line end in it", head.method, head.path)
            response.release()
            return await self.send(CRASHED, head, goes_on=False)
        if response.stream is not None:
            try:
                await self._send_stream(response.stream, data, response.body, framing)
            finally:
                response.release()
            return goes_on
        body = response.body if framing.has_body else b""
        await self._outbound.send((data, body) if body else (data,), len(data) + len(body))
        return goes_on

    async def _send_stream(
        self, stream: Callable[[], Awaitable[bytes]], head: bytes, first: bytes, framing: Framing
    ) -> None:
        """Send a streamed answer, each piece as it comes; cuts the connection if it breaks off."""
        left, piece, pieces = framing.length, first, [head]
        try:
            while True:
                if piece and framing.has_body:
                    piece = piece if left is None else piece[:left]
                    left = None if left is None else left - len(piece)
                    pieces += framing.wrap(piece) if piece else ()
                await self._outbound.send(pieces, sum(map(len, pieces)))
                if (framing.has_body and left == 0) or not (piece := await stream()):
                    break
                pieces = []
        except StreamBroken as error:
            _log.warning("a streamed answer broke off: %s", error)
            left = -1
        except BROKEN:
            self._left()
            await abandon(stream)
        if framing.has_body and left:
            self._stream.abort()
            raise trio.BrokenResourceError("the answer ended before its end")
        if framing.is_chunked and framing.has_body:
            await self._outbound.send((LAST_CHUNK,), len(LAST_CHUNK))
