"""The way of one request through the engine (http.md 8): slot, deadline, route, body, functions, answer."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import trio

from iii_trio.kernel import DEFAULT_NAMESPACE, Kernel
from iii_trio.kernel.channels import source_of
from iii_trio.kernel.labels import shown, shown_lines
from iii_trio.protocol import Json, Payload
from iii_trio.protocol.errors import InvocationError

from . import response as answers
from .config import HttpConfig
from .cors import CorsPolicy
from .middleware import TIMED_OUT, middleware_answer, middleware_input
from .openapi import DOCUMENT, DOCUMENT_PATH, OpenApiDocument
from .request import decode_headers, is_json, json_text, request_payload, trace_context
from .request_id import RequestIds
from .request_log import log_request
from .routes import Match, Route, RouteTable, other_slash
from .seam import BodyLimitError, Request, Response
from .slots import Slots
from .streaming import NO_BODY, Body, RequestChannels, Upload, has_body

_log = logging.getLogger("iii_trio.http")
_ERROR_ID_MASK: Final = (1 << 48) - 1
_FALSE: Final = b"false"
_Invoke = Callable[..., Awaitable[Payload]]


@attrs.define(eq=False)
class Progress:
    """How far a request has come, for who must say why it came no further."""

    calling: str = ""
    """The function that was called last."""

    route: Route | None = None
    """Where the request leads."""

    late: Response = answers.GATEWAY_TIMEOUT
    """The answer if the time is up now."""


@attrs.define(eq=False)
class Visit:
    """A request on its route: what every function it passes is called with."""

    match: Match
    request: Request
    headers: dict[str, str]
    invoke: _Invoke
    progress: Progress


@attrs.define(eq=False)
class Gateway:
    """Answers requests by calling the functions of their routes. `stopping` refuses new ones with 503."""

    kernel: Kernel
    config: HttpConfig
    routes: RouteTable
    stopping: bool = False
    is_retired: bool = attrs.field(default=False, init=False)
    """Whether another one, by other settings, has taken its place."""

    cors: CorsPolicy = attrs.field(init=False)
    _slots: Slots = attrs.field(init=False)
    _middleware: tuple[str, ...] = attrs.field(init=False)
    _request_ids: RequestIds | None = attrs.field(default=None, init=False)
    _not_found: Route | None = attrs.field(default=None, init=False)
    _document: OpenApiDocument | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        self.cors = CorsPolicy.of(config.cors)
        self._slots = Slots(config.slots)
        self._middleware = config.middleware_ids
        if config.request_id_header is not None:
            self._request_ids = RequestIds(config.request_id_header.lower().encode(), self.kernel.ids)
        if config.not_found_function is not None:
            self._not_found = Route("", "", "", config.not_found_function, DEFAULT_NAMESPACE, default_status=404)
        if config.openapi:
            self._document = OpenApiDocument(
                self.kernel.functions,
                self.routes,
                has_middleware=bool(self._middleware),
                body_limit=config.body_in_memory,
            )

    def with_config(self, config: HttpConfig) -> "Gateway":
        """The same routes by other settings. Slots are shared with the former one if there are as many."""
        gateway = Gateway(self.kernel, config, self.routes, self.stopping)
        if config.slots == self.config.slots:
            gateway._slots = self._slots
        self.is_retired = True
        return gateway

    @property
    def asks_first(self) -> bool:
        """Whether something comes before the functions of all routes."""
        return bool(self._middleware) or self._request_ids is not None

    def take_slot(self) -> bool:
        """Take a slot if requests are answered at all and one is free; `free_slot` gives it back."""
        return not (self.stopping or self.kernel.bus.draining) and self._slots.take_nowait()

    def free_slot(self) -> None:
        """Let the next request in."""
        self._slots.give_back()

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises. Cancelled, it leaves the function running and drops the result."""
        origin = request.origin
        if request.method == "OPTIONS":
            return self.cors.preflight(origin, self._allowed(request.path))
        request_id = None
        try:
            if self._request_ids is not None:
                request, request_id = self._request_ids.ensure(request)
            answer = await self._in_turn(request)
        except Exception as error:  # noqa: BLE001  # the request boundary: our own bug must not cost the connection
            answer = self.crashed(request, error)
        if answer is not answers.GATEWAY_TIMEOUT:
            answer = self.cors.apply(answer, origin)
        if self._request_ids is not None and request_id is not None:
            answer = self._request_ids.echo(answer, request_id)
        return answer

    async def _in_turn(self, request: Request) -> Response:
        """Wait for a slot, in the order of arrival and without a deadline; then answer within `default_timeout` (D-21)."""
        if not self.take_slot():  # a round of the scheduler less than waiting for what is free
            if self.stopping or self.kernel.bus.draining:
                return answers.shutting_down()
            await self._slots.take()
        progress = Progress()
        try:
            with trio.move_on_after(self.config.timeout):
                return await self._answer(request, progress)
        finally:
            self.free_slot()
        self.expired(request, progress.route, progress.calling)
        return progress.late

    async def _answer(self, request: Request, progress: Progress) -> Response:
        match = self.find(request)
        if match is None:
            return await self._unmatched(request, progress)
        log_request(request, match.route, trust_proxy=self.config.trust_proxy)
        try:
            return await self._serve(match, request, progress)
        except BodyLimitError as error:
            return answers.too_large(error.limit)
        except InvocationError as error:
            return self.failed(error, match.route, progress.calling)

    # --- which route ------------------------------------------------------------------------------------------------

    def find(self, request: Request) -> Match | None:
        """The route of a request, None if there is none."""
        match = self.routes.match(request.method, request.path)
        if match is None and self.config.ignore_trailing_slash:
            match = self.routes.match(request.method, other_slash(request.path))
        if self._document is not None and self._document.is_asked(request, match):
            return DOCUMENT
        return match

    def _allowed(self, path: bytes) -> list[str]:
        """The methods that reach something at this path, sorted."""
        methods = set(self.routes.allowed(path))
        if self.config.ignore_trailing_slash:
            methods.update(self.routes.allowed(other_slash(path)))
        if self._document is not None and path == DOCUMENT_PATH:
            methods.add("GET")
        return sorted(methods)

    async def _unmatched(self, request: Request, progress: Progress) -> Response:
        """404 or 405; for a path without any route the function that answers in place of 404, if there is one (2.2)."""
        allowed = self._allowed(request.path)
        if self._not_found is not None and not allowed:
            match = Match(self._not_found, {}, request.path.decode("utf-8", "replace"))
            try:
                return await self._serve(match, request, progress, middleware=())
            except BodyLimitError as error:
                return answers.too_large(error.limit)
            except InvocationError as error:
                name = shown(self._not_found.function_id)
                _log.error(
                    "%s, asked in place of 404, failed with %s: %s", name, shown(error.code), shown(error.message)
                )
        return answers.not_found(allowed, request.method)

    # --- one request on its route -----------------------------------------------------------------------------------

    async def _serve(
        self, match: Match, request: Request, progress: Progress, middleware: tuple[str, ...] | None = None
    ) -> Response:
        """All middleware, the condition, and the handler; the first that has an answer ends it (8). Raises InvocationError."""
        headers = decode_headers(request.headers)
        route = progress.route = match.route
        traceparent, baggage = trace_context(headers, self.kernel.ids)
        invoke = partial(self.kernel.bus.invoke, namespace=route.namespace, traceparent=traceparent, baggage=baggage)
        visit = Visit(match, request, headers, invoke, progress)
        everywhere = self._middleware if middleware is None else middleware
        if everywhere and (answer := await self._ask(everywhere, visit)) is not None:
            return answer
        if self._document is not None and match is DOCUMENT:
            return await self._document.respond()
        body = await self._body(request, headers)
        payload = partial(request_payload, match, request.method, request.query, headers, body.text)
        if route.condition_function_id is not None:
            progress.calling = route.condition_function_id
            if not await _is_met(invoke, route.condition_function_id, payload()):
                return answers.condition_not_met()
        if route.middleware and (answer := await self._ask(route.middleware, visit)) is not None:
            return answer
        progress.calling = route.function_id
        return await self._call(route, body, payload, invoke)

    async def _ask(self, function_ids: tuple[str, ...], visit: Visit) -> Response | None:
        """Ask one middleware after the other; the answer of the first that gives one (10)."""
        text, progress = middleware_input(visit.match, visit.request, visit.headers), visit.progress
        progress.late = TIMED_OUT
        for function_id in function_ids:
            progress.calling = function_id
            result = await visit.invoke(function_id, Payload(text))
            if (answer := middleware_answer(function_id, result.value)) is not None:
                return answer
        progress.late = answers.GATEWAY_TIMEOUT
        return None

    async def _body(self, request: Request, headers: dict[str, str]) -> Body:
        """The body read as JSON, or on its way."""
        if is_json(headers):
            raw = await request.read_body(self.config.body_in_memory)
            return Body(json_text(raw), source_of(raw))
        if not has_body(headers):
            return NO_BODY
        upload = await Upload.open(request, self.config.body_limit)
        return Body(b"null", upload.next, upload)

    async def _call(self, route: Route, body: Body, payload: Callable[[bytes], Payload], invoke: _Invoke) -> Response:
        channels = RequestChannels.mint(self.kernel.channels, body)
        channels.answer.status = route.default_status
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
                    return self.plain(result.value, route)
            await written.wait_decided()
        return channels.respond()

    def plain(self, value: Json, route: Route) -> Response:
        """The answer for what a function has returned, which is not null. Raises OutputRejected."""
        if not answers.is_answer(value) and not route.warned:
            route.warned = True
            _log.warning("the result of %s has no `body`; its callers over HTTP get {}", shown(route.function_id))
        return answers.plain_response(value, route.default_status)

    def failed(self, error: InvocationError, route: Route, function_id: str) -> Response:
        """The answer when a call has failed."""
        answer = answers.error_response(error, self._error_id())
        if answer.status == 500:
            trace = shown_lines(error.stacktrace or "")
            _log.error(
                "%s %s: %s failed with %s: %s, answer %s%s",
                route.method,
                shown(route.path),
                shown(function_id),
                shown(error.code),
                shown(error.message),
                shown(bytes(answer.body).decode()),
                trace and f"\n{trace}",
            )
        return answer

    def expired(self, request: Request, route: Route | None, function_id: str) -> None:
        """Log what a request has waited for in vain: a function, or its own body."""
        _log.warning(
            "%s %s: 504 after %d ms, %s",
            shown(request.method),
            shown(route.path if route is not None else request.path.decode("latin-1")),
            self.config.default_timeout,
            f"no answer from {shown(function_id)}" if function_id else "the body of the request has not arrived",
        )

    def crashed(self, request: Request, error: Exception) -> Response:
        """The answer when the engine itself has failed."""
        error_id = self._error_id()
        _log.error(
            "%s %s failed, error_id %s",
            shown(request.method),
            shown(request.path.decode("latin-1")),
            error_id,
            exc_info=error,
        )
        return answers.crash_response(error_id)

    def _error_id(self) -> str:
        """Up to 12 hex digits of the clock, which the answer and the log share (7.3)."""
        return format(int(self.kernel.clock.now() * 1e9) & _ERROR_ID_MASK, "x")


async def _is_met(invoke: _Invoke, function_id: str, payload: Payload) -> bool:
    """Ask a condition: only `false` is a refusal (11)."""
    verdict = await invoke(function_id, payload)
    if verdict.is_null:
        _log.warning("condition %s returned nothing, which lets the request through", shown(function_id))
    return bytes(verdict.raw) != _FALSE
