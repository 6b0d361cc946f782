"""The HTTP server of the engine: routes from `http` triggers, answered by functions (http.md)."""

from .config import HARD_BODY_LIMIT, CorsConfig, HttpConfig, MiddlewareConfig, TlsConfig
from .module import ADDRESS_SERVICE, HttpModule, OpenServer, open_fast, open_hypercorn
from .seam import (
    BodyLimitError,
    Headers,
    HttpServer,
    Listeners,
    Request,
    RequestHandler,
    Response,
    ServerLimits,
    StreamBroken,
)
from .site import BindError, Network
from .triggers import REQUEST_FORMAT, RESPONSE_FORMAT, TRIGGER_FORMAT

__all__ = [
    "ADDRESS_SERVICE",
    "HARD_BODY_LIMIT",
    "REQUEST_FORMAT",
    "RESPONSE_FORMAT",
    "TRIGGER_FORMAT",
    "BindError",
    "BodyLimitError",
    "CorsConfig",
    "Headers",
    "HttpConfig",
    "HttpModule",
    "HttpServer",
    "Listeners",
    "MiddlewareConfig",
    "Network",
    "OpenServer",
    "Request",
    "RequestHandler",
    "Response",
    "ServerLimits",
    "StreamBroken",
    "TlsConfig",
    "open_fast",
    "open_hypercorn",
]
