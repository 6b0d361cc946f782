"""The short way of the common request (http.md 8): nothing to wait for before its function is called, and no task that waits for the outcome."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

import attrs
from msgspec import Raw

from iii_trio.kernel import Channel
from iii_trio.kernel.channel_registry import Promise, promise_template
from iii_trio.kernel.channels import source_of
from iii_trio.kernel.functions import Function
from iii_trio.kernel.invocations import Invocation
from iii_trio.kernel.runners import Source
from iii_trio.protocol import ErrorBody, decode_json, encode_json
from iii_trio.protocol.errors import InvocationError, Overloaded, WorkerDisconnected, from_error_body
from iii_trio.protocol.messages import ABSENT

from . import response as answers
from .openapi import DOCUMENT
from .request import decode_headers, given_trace, is_json, json_text, payload_head, trace_of
from .request_log import log_request
from .routes import Route
from .seam import Client, Headers, Request, Response
from .streaming import NO_WRITER, RequestChannels, has_body

if TYPE_CHECKING:
    from .gateway import Gateway

_SHORTEST_TIMEOUT: Final = 5.0
"""Seconds. The server keeps the deadlines of requests on this way by looking around now and then; shorter ones get a timer."""

_REFERENCES: Final = promise_template(',"request_body":%s,"response":%s', "read", "write")
_OTHERS: Final = frozenset({"HEAD", "OPTIONS"})
"""Methods whose answers are made in another way."""


@attrs.frozen(eq=False)
class FunctionShortcuts:
    """Finds the shortcuts of an http module, by the settings of the moment."""

    gateway: Callable[[], "Gateway"]

    def find(self, request: Request) -> "FunctionShortcut | None":
        """The shortcut for requests with this head, if there is one."""
        return FunctionShortcut.find(self.gateway(), request)

    def fed_by(self, source: Source) -> AbstractContextManager[None]:
        """For the length of a block, have the tasks that run functions wait for a source of requests."""
        return self.gateway().kernel.bus.runners.fed_by(source)

    def look(self) -> None:
        """Have requests collected again if that had to end."""
        self.gateway().kernel.bus.runners.look()


@attrs.define(eq=False)
class FunctionShortcut:
    """How requests with one and the same head are answered; worked out once, since clients often ask the same again.

    Args:
      gateway: by whose settings.
      request: a request with this head.
      route: where it leads, by the routes as they were after so many `changes`.
      beginning: the request object up to its body.
      headers: those of an answer that gives none of its own.
    """

    gateway: "Gateway"
    request: Request
    route: Route
    _changes: int
    _beginning: bytes
    _is_json: bool
    _traceparent: str | None
    _baggage: str | None
    headers: Headers
    timeout: float
    """Seconds until the answer is 504."""

    _function: Function | None = None
    _functions_changes: int = -1
    """Since when that is the function of the route (`FunctionRegistry.changes`)."""

    @classmethod
    def find(cls, gateway: "Gateway", request: Request) -> "FunctionShortcut | None":
        """The short way of a request; None if something has to be waited for before its function can be called."""
        if gateway.asks_first or gateway.config.timeout < _SHORTEST_TIMEOUT or request.method in _OTHERS:
            return None
        match = gateway.find(request)
        if match is None or match is DOCUMENT or match.route.asks_first:
            return None
        headers = decode_headers(request.headers)
        takes_json = is_json(headers)
        if (request.declared_length or 0) > gateway.config.body_in_memory or (not takes_json and has_body(headers)):
            return None
        return cls(
            gateway,
            request,
            match.route,
            gateway.routes.changes,
            payload_head(match, request.method, request.query, headers),
            takes_json,
            given_trace(headers),
            headers.get("baggage") or None,
            gateway.cors.apply(answers.JSON_ANSWER, request.origin).headers,
            gateway.config.timeout,
        )

    @property
    def is_current(self) -> bool:
        """Whether settings and routes are still those that this was worked out by."""
        return self._changes == self.gateway.routes.changes and not self.gateway.is_retired

    def take(self, body: bytes, client: Client) -> "PendingCall | None":
        """Call the function for one request. None, and no effect, if it cannot be called just now."""
        gateway, route = self.gateway, self.route
        kernel = gateway.kernel
        if self._functions_changes != kernel.functions.changes:
            self._function = kernel.functions.find(route.namespace, route.function_id)
            self._functions_changes = kernel.functions.changes
        if self._function is None or not gateway.take_slot():
            return None
        call, call_id, is_taken = PendingCall(self, client, body), kernel.ids.new(), False
        trace = self._traceparent or trace_of(call_id)
        row = Invocation(call_id, self._function, traceparent=trace, baggage=self._baggage)
        try:
            text = json_text(body) if self._is_json else b"null"
            pieces = (self._beginning, text, call.promise_channels(call_id), b"}")
            is_taken = kernel.bus.submit(row, pieces, route.metadata)
        except Overloaded:
            return None  # there are too many channels, which the handler says
        finally:
            if not is_taken:
                call.abandon()
        if not is_taken:
            return None
        row.answer = call.take  # not before: no client is answered before this returns
        log_request(self.request, route, trust_proxy=gateway.config.trust_proxy)
        return call


@attrs.define(eq=False)
class PendingCall:
    """A request whose function has been called. What comes of it is told to the client, once; nobody waits for it in a task."""

    _way: FunctionShortcut
    _client: Client
    _body: bytes
    _promise: Promise | None = None
    _channels: RequestChannels | None = None
    _is_over: bool = False
    _has_returned: bool = False

    def promise_channels(self, call_id: str) -> bytes:
        """The members of the request object that refer to its channels (6.1). Raises Overloaded."""
        self._promise = promise = self._way.gateway.kernel.channels.promise(call_id, self._keep)
        return promise.fill(_REFERENCES)

    def _keep(self, body: Channel, response: Channel) -> None:
        """Somebody comes to open a channel."""
        self._channels = channels = RequestChannels(self._way.gateway.kernel.channels, None, body, response)
        body.feed(source_of(self._body))
        channels.answer.status = self._way.route.default_status
        channels.interrupt_with(self._decided)
        channels.answer.abandoned = self._written_off

    # --- what may come of it ----------------------------------------------------------------------------------------

    def take(self, result: Raw, error: ErrorBody | None) -> None:
        """The function has returned, or failed."""
        if self._is_over:
            return
        if error is None:
            self._answer(self._give_result, result)
        else:
            self._fail(from_error_body(error))

    def expire(self) -> None:
        """The time is up."""
        way = self._way
        way.gateway.expired(way.request, way.route, way.route.function_id)
        self._respond(answers.GATEWAY_TIMEOUT)

    def abandon(self) -> None:
        """The client has gone; the function goes on. Safe to repeat."""
        if not self._is_over:
            self._end()

    def _decided(self) -> None:
        """The function has written an answer."""
        if not self._is_over and self._channels is not None:
            self._answer(self._give_stream)

    def _written_off(self) -> None:
        """Whoever was to write the answer has gone before the first byte."""
        if self._has_returned and not self._is_over:
            self._fail(WorkerDisconnected(NO_WRITER))

    # --- the answer -------------------------------------------------------------------------------------------------

    def _answer(self, give: Callable[..., None], *result: Raw) -> None:
        try:
            give(*result)
        except InvocationError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  # the request boundary, as in `Gateway.handle`
            self._respond(self._with_grants(self._way.gateway.crashed(self._way.request, error)))

    def _fail(self, error: InvocationError) -> None:
        gateway, route = self._way.gateway, self._way.route
        try:
            response = gateway.failed(error, route, route.function_id)
        except Exception as failure:  # noqa: BLE001  # the request boundary again: who brings the outcome must not pay
            response = gateway.crashed(self._way.request, failure)
        self._respond(self._with_grants(response))

    def _give_result(self, result: Raw) -> None:
        value, route = None if result is ABSENT else decode_json(memoryview(result)), self._way.route
        if type(value) is dict and "body" in value and "headers" not in value:
            status = answers.read_status(value, route.default_status)
            if status >= 200:
                body = encode_json(value["body"])
                self._end()
                self._client.answer(status, self._way.headers, body)
                return
        if value is None:
            self._give_nothing()
        else:
            self._respond(self._with_grants(self._way.gateway.plain(value, route)))

    def _give_nothing(self) -> None:
        """Without a result the client waits on for what is written (9.3)."""
        self._has_returned = True
        if self._channels is not None and self._channels.answer.is_abandoned:
            self._written_off()

    def _give_stream(self) -> None:
        assert self._channels is not None
        self._respond(self._with_grants(self._channels.respond()))

    def _with_grants(self, response: Response) -> Response:
        return self._way.gateway.cors.apply(response, self._way.request.origin)

    def _respond(self, response: Response) -> None:
        self._end(is_streaming=response.stream is not None)
        self._client.respond(response)

    def _end(self, *, is_streaming: bool = False) -> None:
        """Nothing more comes of it; a stream releases the channels by itself."""
        self._is_over = True
        self._way.gateway.free_slot()
        if is_streaming:
            return
        if self._channels is not None:
            self._channels.release()
        elif self._promise is not None:
            self._way.gateway.kernel.channels.withdraw(self._promise)
