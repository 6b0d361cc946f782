"""Checks and calls endpoints for one incarnation of the module."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from iii_trio.clients.exchange import HttpRequest, RequestFailed, ResponseFailed
from iii_trio.clients.outbound import Outbound
from iii_trio.kernel import Call, Kernel
from iii_trio.kernel.http_functions import RegistrationRefused
from iii_trio.protocol import Payload
from iii_trio.protocol.errors import (
    HttpRequestFailed,
    HttpResponseFailed,
    InvocationError,
    TimestampError,
    UrlValidationFailed,
    WorkerDisconnected,
)
from iii_trio.protocol.messages import RegisterFunction

from .invocation import HttpInvocation, Target, read_authentication
from .outcome import outcome
from .policy import UrlPolicy
from .request import request_headers

if TYPE_CHECKING:
    from iii_trio.clients.http import HttpClient


@attrs.define(eq=False)
class Runner:
    """An `HttpFunctionRunner` over one client. Loads the client with the first call."""

    kernel: Kernel
    policy: UrlPolicy
    outbound: Outbound
    environment: Mapping[str, str]
    open_client: Callable[[Outbound], "HttpClient"]
    _client: "HttpClient | None" = None
    _calls: set[trio.CancelScope] = attrs.field(factory=set)

    async def prepare(self, message: RegisterFunction) -> Target:
        """Check a registration and read its secrets. Raises RegistrationRefused."""
        said = HttpInvocation.decode(message.invocation)
        try:
            url = self.policy.parse(said.url)
            await self.policy.check(url, self.outbound)
        except UrlValidationFailed as error:
            raise RegistrationRefused(f"its URL is refused: {error.message}") from error
        headers = tuple((said.headers or {}).items())
        authentication = read_authentication(said, self.environment)
        return Target(message.id, url, said.method or "POST", said.timeout, headers, authentication)

    async def run(self, target: Target, call: Call) -> Payload:
        """Call an endpoint. Raises InvocationError; `invocation_stopped` when the module ends in the middle of it."""
        failure: type[InvocationError] = HttpRequestFailed
        with self._stoppable() as stopped, trio.move_on_after(target.timeout):
            request = await self._request(target, call)
            try:
                async with self._http().send(request) as response:
                    failure = HttpResponseFailed
                    return outcome(response.status, await response.read())
            except RequestFailed as error:
                raise HttpRequestFailed(str(error)) from error
            except ResponseFailed as error:
                raise HttpResponseFailed(str(error)) from error
        if stopped.cancelled_caught:
            raise WorkerDisconnected("Invocation stopped")
        raise failure(f"the request timed out after {target.timeout * 1000:.0f} ms")

    async def _request(self, target: Target, call: Call) -> HttpRequest:
        addresses = await self.policy.check(target.url, self.outbound)
        now = self.kernel.clock.now()
        if now < 0:
            raise TimestampError("the engine's clock stands before 1970")
        body = bytes(call.payload.raw) or b"null"
        headers = request_headers(target, self.kernel.ids.new(), str(int(now)), body)
        return HttpRequest(target.method, target.url, headers, body, addresses)

    def _http(self) -> "HttpClient":
        if self._client is None:
            self._client = self.open_client(self.outbound)
        return self._client

    @contextmanager
    def _stoppable(self) -> Iterator[trio.CancelScope]:
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                yield scope
            finally:
                self._calls.discard(scope)

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    async def close(self) -> None:
        """End every call and close every connection."""
        for scope in tuple(self._calls):
            scope.cancel(reason="the module of HTTP-invoked functions ends")
        if self._client is not None:
            await self._client.aclose()
