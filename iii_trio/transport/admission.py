"""Who is let in on a guarded listener: a peer from its handshake to the word of the auth function (wire-protocol 11.4)."""

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from iii_trio.kernel import Kernel, Policy, Session
from iii_trio.kernel.labels import shown
from iii_trio.protocol import ErrorBody, encode
from iii_trio.protocol.access import AuthRequest, AuthResult, decode_answer, struct_payload
from iii_trio.protocol.errors import Codes, InvocationError, RemoteProtocolError
from iii_trio.protocol.messages import AuthenticationFailed
from iii_trio.sockets import CloseReason, Upgrade, WebSocket

_log = logging.getLogger("iii_trio.access")
AUTH_DEADLINE: Final = 30.0
FIRST_WORDS: Final = 1.0
"""Seconds a peer has from its handshake to send what SDKs send at once. Python SDKs before 0.24.4 never try again when the
connection ends meanwhile, as it would for a worker that is back before the one that offers the auth function."""


class _NotLetInError(Exception):
    """The peer is refused, for the reason in the text."""


@attrs.define(eq=False, repr=False)
class Admission:
    """A connected peer of which nobody has said yet who it is. It is no worker: nothing it sends is looked at."""

    kernel: Kernel
    policy: Policy
    request: Upgrade
    socket: WebSocket
    count_end: Callable[[CloseReason], None]
    """Told the reason, once, at the moment it is decided that the peer is not let in."""

    reason: CloseReason | None = None
    _asking: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> Session | None:
        """Ask the auth function, 30 s at most. None = the peer was told that it is refused, and its socket is closed."""
        session = None
        try:
            with self._asking:
                session = await self._decide()
        finally:
            if session is None or self.reason is not None:
                session = None
                self._conclude(CloseReason.KILLED)
                assert self.reason is not None
                await self.socket.close(self.reason)
        return session

    def stop(self, reason: str) -> None:
        """End the connection for a reason."""
        self._conclude(CloseReason(reason))
        self._asking.cancel(reason=reason)

    def tick(self, now: float) -> None:
        """Nothing is due before the peer is let in."""

    def _conclude(self, reason: CloseReason) -> None:
        if self.reason is None:
            self.reason = reason
            self.count_end(reason)

    async def _decide(self) -> Session | None:
        begun = trio.current_time()
        try:
            return await self._session()
        except _NotLetInError as refusal:
            self._conclude(CloseReason.AUTH_FAILED)
            self._say_no(str(refusal))
        await trio.sleep_until(begun + FIRST_WORDS)
        return None

    async def _session(self) -> Session:
        address = self.socket.stream.peer_address or ""
        said = None
        if self.policy.auth_function_id is not None:
            said = await self._ask(self.policy.auth_function_id, address)
        return Session.of(self.policy, self.kernel.ids.new(), address, said)

    async def _ask(self, function_id: str, address: str) -> AuthResult:
        question = AuthRequest(_ascii_headers(self.request), query_params(self.request.query_text), address)
        try:
            with trio.fail_after(AUTH_DEADLINE):
                answer = await self.kernel.bus.invoke(function_id, struct_payload(question))
            return decode_answer(answer, AuthResult)
        except InvocationError as error:
            raise _NotLetInError(error.message) from error
        except trio.TooSlowError as error:
            raise _NotLetInError(f"authentication took longer than {AUTH_DEADLINE:.0f} s") from error
        except RemoteProtocolError as error:
            raise _NotLetInError(f"the answer of the auth function cannot be used: {error}") from error

    def _say_no(self, why: str) -> None:
        _log.warning("a peer from %s was not let in: %s", self.socket.stream.peer_address, shown(why))
        text = encode(AuthenticationFailed(ErrorBody(Codes.AUTH_ERROR, why)))
        self.socket.outbox.send((text,), len(text))


def _ascii_headers(request: Upgrade) -> dict[str, str]:
    """The request's header by names in lower case; of several values the last one, values that are not ASCII left out."""
    return {name.lower(): value for name, value in request.headers if value.isascii()}


def query_params(query: str) -> dict[str, list[str]]:
    """The query's values by key, in their order and not decoded; pairs without a key are left out."""
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key:
            found.setdefault(key, []).append(value)
    return found
