"""The way of one request through the engine (http.md 8): slot, deadline, route, body, condition, function, answer."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import trio

from iii_trio.kernel import Kernel
from iii_trio.kernel.channels import source_of
from iii_trio.kernel.labels import shown, shown_lines
from iii_trio.protocol import Payload
from iii_trio.protocol.errors import InvocationError

from . import response as answers
from .config import HttpConfig
from .cors import CorsPolicy
from .request import decode_headers, is_json, json_text, request_payload, trace_context
from .routes import Match, Route, RouteTable
from .seam import BodyLimitError, Request, Response
from .streaming import NO_BODY, Body, RequestChannels, Upload, has_body

_log = logging.getLogger("iii_trio.http")
_ERROR_ID_MASK: Final = (1 << 48) - 1
_FALSE: Final = b"false"


@attrs.define(eq=False)
class Gateway:
    """Answers requests by calling the functions of their routes. `stopping` refuses new ones with 503."""

    kernel: Kernel
    config: HttpConfig
    routes: RouteTable
    stopping: bool = False
    _cors: CorsPolicy = attrs.field(init=False)
    _slots: trio.Semaphore = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._cors = CorsPolicy.of(self.config.cors)
        self._slots = trio.Semaphore(self.config.slots)

    def with_config(self, config: HttpConfig) -> "Gateway":
        """The same routes by other settings. Slots are shared with the former one if there are as many."""
        gateway = Gateway(self.kernel, config, self.routes, self.stopping)
        if config.slots == self.config.slots:
            gateway._slots = self._slots
        return gateway

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises. Cancelled, it leaves the function running and drops the result."""
        origin = next((value for name, value in request.headers if name == b"origin"), None)
        if request.method == "OPTIONS":
            return self._cors.preflight(origin, self.routes.allowed(request.path))
        try:
            answer = await self._in_turn(request)
        except Exception as error:  # noqa: BLE001  # the request boundary: our own bug must not cost the connection
            error_id = self._error_id()
            _log.error(
                "%s %s failed, error_id %s",
                shown(request.method),
                shown(request.path.decode("latin-1")),
                error_id,
                exc_info=error,
            )
            answer = answers.crash_response(error_id)
        return answer if answer is answers.GATEWAY_TIMEOUT else self._cors.apply(answer, origin)

    async def _in_turn(self, request: Request) -> Response:
        """Wait for a slot, in the order of arrival and without a deadline; then answer within `default_timeout` (D-21)."""
        if self.stopping or self.kernel.bus.draining:
            return answers.shutting_down()
        try:
            self._slots.acquire_nowait()  # a round of the scheduler less than waiting for what is free
        except trio.WouldBlock:
            await self._slots.acquire()
        try:
            with trio.move_on_after(self.config.timeout):
                return await self._answer(request)
        finally:
            self._slots.release()
        return answers.GATEWAY_TIMEOUT

    async def _answer(self, request: Request) -> Response:
        match = self.routes.match(request.method, request.path)
        if match is None:
            return answers.not_found(self.routes.allowed(request.path), request.method)
        headers = decode_headers(request.headers)
        try:
            body = await self._body(request, headers)
            return await self._call(match, request, headers, body)
        except BodyLimitError as error:
            return answers.too_large(error.limit)
        except InvocationError as error:
            return self._failed(error, match.route)

    async def _body(self, request: Request, headers: dict[str, str]) -> Body:
        """The body read as JSON, or on its way."""
        if is_json(headers):
            raw = await request.read_body(self.config.body_in_memory)
            return Body(json_text(raw), source_of(raw))
        if not has_body(headers):
            return NO_BODY
        upload = await Upload.open(request, self.config.body_limit)
        return Body(b"null", upload.next, upload)

    async def _call(self, match: Match, request: Request, headers: dict[str, str], body: Body) -> Response:
        route = match.route
        payload = partial(request_payload, match, request.method, request.query, headers, body.text)
        traceparent, baggage = trace_context(headers)
        invoke = partial(self.kernel.bus.invoke, namespace=route.namespace, traceparent=traceparent, baggage=baggage)
        if route.condition_function_id is not None:
            verdict = await invoke(route.condition_function_id, payload())
            if bytes(verdict.raw) == _FALSE:
                return answers.condition_not_met()
            if verdict.is_null:
                _log.warning(
                    "condition %s returned nothing, which lets the request through", shown(route.condition_function_id)
                )
        channels = RequestChannels.mint(self.kernel.channels, body)
        is_streaming = False
        try:
            call = partial(invoke, route.function_id, payload(channels.refs), metadata=route.metadata)
            answer = await self._answered(channels, call, route)
            is_streaming = answer.stream is not None
            return answer
        finally:
            if not is_streaming:
                channels.release()

    async def _answered(
        self, channels: RequestChannels, call: Callable[[], Awaitable[Payload]], route: Route
    ) -> Response:
        """The first of what the function writes and what it returns; None is no answer, the client waits on (9.3)."""
        written = channels.answer
        with trio.CancelScope() as waiting:
            channels.interrupt_with(partial(waiting.cancel, reason="the answer comes from elsewhere"))
            try:
                result = await call()
            except InvocationError:
                if not written.is_decided:
                    raise
            else:
                if not (result.is_null or written.is_decided):
                    return self._plain(result, route)
            await written.wait_decided()
        return channels.respond()

    def _plain(self, result: Payload, route: Route) -> Response:
        value = result.value
        if not answers.is_answer(value) and not route.warned:
            route.warned = True
            _log.warning("the result of %s has no `body`; its callers over HTTP get {}", shown(route.function_id))
        return answers.plain_response(value)

    def _failed(self, error: InvocationError, route: Route) -> Response:
        answer = answers.error_response(error, self._error_id())
        if answer.status == 500:
            _log.error(
                "%s %s: %s failed with %s: %s, answer %s\n%s",
                route.method,
                shown(route.path),
                shown(route.function_id),
                shown(error.code),
                shown(error.message),
                shown(bytes(answer.body).decode()),
                shown_lines(error.stacktrace or ""),
            )
        return answer

    def _error_id(self) -> str:
        """Up to 12 hex digits of the clock, which the answer and the log share (7.3)."""
        return format(int(self.kernel.clock.now() * 1e9) & _ERROR_ID_MASK, "x")
