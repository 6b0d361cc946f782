"""The trigger type `http`: its configuration, its schemas, and how a trigger becomes a route (http.md 4)."""

import logging
from collections.abc import Callable
from typing import Any, Final

import attrs

from iii_trio.kernel import Trigger
from iii_trio.kernel.labels import shown
from iii_trio.protocol import Json, Payload
from iii_trio.protocol.errors import TriggerRejected

from .routes import Route, RouteTable

_log = logging.getLogger("iii_trio.http")

TYPE: Final = "http"
ALIAS: Final = "api"
DESCRIPTION: Final = "HTTP API trigger"
METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")

_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_ANYTHING: Final[dict[str, Any]] = {}

TRIGGER_FORMAT: Final = Payload.of(
    {
        "type": "object",
        "title": "HttpTriggerConfig",
        "required": ["api_path"],
        "properties": {
            "api_path": {
                "type": "string",
                "description": "The path, with `:name` for parameters and `{*name}` for all that remains.",
            },
            "http_method": {
                "type": "string",
                "enum": list(METHODS),
                "default": "GET",
                "description": "The method, in any case.",
            },
            "condition_function_id": {
                "type": ["string", "null"],
                "description": "A function that is asked first; the request is refused when it returns false.",
            },
            "middleware_function_ids": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "Functions that are asked before the handler, in this order, and may answer in its place.",
            },
        },
    }
)
"""What `config` of an http trigger holds."""

REQUEST_FORMAT: Final = Payload.of(
    {
        "type": "object",
        "title": "HttpRequest",
        "properties": {
            "query_params": {**_TEXTS, "description": "Decoded; of a repeated key the last value."},
            "path_params": {**_TEXTS, "description": "As in the path, not decoded."},
            "headers": {**_TEXTS, "description": "Names in lower case; of a repeated header the last value."},
            "path": {"type": "string", "description": "The registered api_path."},
            "method": {"type": "string"},
            "body": _ANYTHING,
        },
    }
)
"""What the function receives."""

RESPONSE_FORMAT: Final = Payload.of(
    {
        "type": "object",
        "title": "HttpResponse",
        "properties": {
            "status_code": {"type": ["integer", "null"], "description": "200 if absent."},
            "headers": {
                "anyOf": [_TEXTS, {"type": "array", "items": {"type": "string"}}, {"type": "null"}],
                "description": "An object, or an array of `Name: value`.",
            },
            "body": _ANYTHING,
        },
    }
)
"""What the function may return."""


def route_of(trigger: Trigger) -> Route:
    """The route an http trigger asks for. Raises TriggerRejected when there is no usable path."""
    config = trigger.config.value
    settings: dict[str, Json] = config if isinstance(config, dict) else {}
    path = settings.get("api_path")
    if not isinstance(path, str):
        raise TriggerRejected("api_path is required for http triggers")
    method = settings.get("http_method")
    return Route(
        method.upper() if isinstance(method, str) else "GET",
        path,
        trigger.id,
        trigger.function_id,
        trigger.namespace,
        condition_function_id=_condition(settings),
        metadata=trigger.metadata,
        middleware=_texts(settings.get("middleware_function_ids")),
    )


def _condition(settings: dict[str, Json]) -> str | None:
    for key in ("condition_function_id", "_condition_path"):
        if isinstance(value := settings.get(key), str):
            return value
    return None


def _texts(given: Json) -> tuple[str, ...]:
    """The strings of a list; nothing of what is no list (4.1)."""
    return tuple(one for one in given if isinstance(one, str)) if isinstance(given, list) else ()


@attrs.frozen
class Binder:
    """Turns the triggers of the kernel into routes of a table, and takes them away again."""

    routes: RouteTable

    def bind(self, trigger: Trigger) -> Callable[[], None]:
        """Make the trigger's route live; returns what removes it. Raises TriggerRejected."""
        route = route_of(trigger)
        if route.method not in METHODS:
            _log.warning("Unsupported HTTP method: %s (%s)", shown(route.method), shown(route.path))
            return _nothing
        self.routes.add(route)
        _log.info("[REGISTERED] Endpoint %s %s → %s", route.method, shown(route.path), shown(route.function_id))
        return lambda: self._unbind(route)

    def _unbind(self, route: Route) -> None:
        if self.routes.remove(route):
            _log.info("[UNREGISTERED] Endpoint %s %s → %s", route.method, shown(route.path), shown(route.function_id))


def _nothing() -> None:
    """The end of a route that never was."""
