"""The description of all routes at `/openapi.json` (OpenAPI 3.1), for people and programs that call them."""

from collections.abc import Iterable
from typing import Any, Final

import attrs
import trio

from iii_trio.kernel import DEFAULT_NAMESPACE, FunctionRegistry
from iii_trio.protocol import encode_json

from .openapi_formats import Formats
from .openapi_operation import Operation
from .openapi_paths import Place, place_of, unused_name
from .routes import Match, Route, RouteTable
from .seam import Request, Response

DOCUMENT_PATH: Final = b"/openapi.json"
DOCUMENT: Final = Match(Route("GET", "/openapi.json", "", "", DEFAULT_NAMESPACE), {}, "/openapi.json")
"""The match of a request for the description. A route that somebody made for the same path goes before it."""

_AT_ONCE: Final = 50
"""Routes that are described before others get their turn."""


@attrs.define(eq=False)
class OpenApiDocument:
    """The description, made when it is asked for and kept for as long as routes and functions stay the same.

    Requests that come while it is being made wait for it instead of making another.
    """

    _functions: FunctionRegistry
    _routes: RouteTable
    _has_middleware: bool = attrs.field(kw_only=True)
    _body_limit: int = attrs.field(kw_only=True)
    _made_for: tuple[int, int] | None = None
    _text: bytes = b""
    _making: trio.Lock = attrs.field(factory=trio.Lock)
    times_made: int = 0

    def is_asked(self, request: Request, match: Match | None) -> bool:
        """Whether a request, matched so far, is for the description."""
        if request.path != DOCUMENT_PATH or request.method != "GET":
            return False
        return match is None or match.route.key != DOCUMENT.route.key

    async def respond(self) -> Response:
        """The answer with the description as it is now. Cancelled while it is made, it leaves the former one."""
        async with self._making:
            state = self._state()
            if state != self._made_for:
                self._text = encode_json(await self._make())
                self._made_for = state
                self.times_made += 1
        return Response(200, ((b"content-type", b"application/json"),), self._text)

    def _state(self) -> tuple[int, int]:
        return self._routes.changes, self._functions.changes

    async def _make(self) -> dict[str, Any]:
        formats = Formats()
        paths: dict[str, dict[str, Any]] = {}
        names: set[str] = set()
        for number, (route, place) in enumerate(_places(self._routes)):
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            function = self._functions.find(route.namespace, route.function_id)
            item = paths.setdefault(place.template, {})
            is_guarded = self._has_middleware or bool(route.middleware)
            operation = Operation(route, place, function, formats, is_guarded, self._body_limit)
            item[route.method.lower()] = {"operationId": _name(route, names), **operation.describe()}
        return {
            "openapi": "3.1.0",
            "info": {"title": "HTTP API", "version": "1"},
            "paths": paths,
            "components": {"schemas": formats.components},
        }


def _places(routes: Iterable[Route]) -> Iterable[tuple[Route, Place]]:
    """The routes that OpenAPI can name, in order, each method and path once.

    Paths that differ in the names of their parameters only are one path there; its names are those of the first.
    """
    taken: dict[tuple[str, tuple[str | None, ...]], None] = {}
    firsts: dict[tuple[str | None, ...], Place] = {}
    for route in sorted(routes, key=lambda one: (one.catches_all, one.path.lstrip("/"), one.method)):
        place = place_of(route)
        if place is None or route.method == "OPTIONS" or (route.method, place.shape) in taken:
            continue
        taken[route.method, place.shape] = None
        yield route, place.named_like(firsts.setdefault(place.shape, place))


def _name(route: Route, names: set[str]) -> str:
    """An id for the operation: the function's, with a number behind it where it has several routes."""
    base = route.function_id
    if route.namespace != DEFAULT_NAMESPACE:
        base = f"{route.namespace}/{base}"
    name = unused_name(base, names, ".")
    names.add(name)
    return name
