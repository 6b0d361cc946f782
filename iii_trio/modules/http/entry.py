"""The configuration entry of the http module (http.md 3.4): what is stored first, and which address may replace which."""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from iii_trio.modules.live_config import LiveConfig
from iii_trio.protocol import Json

from .config import HttpConfig

ENTRY_ID: Final = "iii-http"
WAITING: Final = ("server", "tls")
"""The keys that take effect with another address or the module's next start; a running module takes all others over."""

_LIMIT: Final = "concurrency_request_limit"


def http_entry(
    config: HttpConfig,
    block: Mapping[str, Any] | None,
    schema: Json,
    structure: Callable[[Mapping[str, Any]], HttpConfig],
) -> LiveConfig[HttpConfig]:
    """The entry of a module whose block in the file is `block`, which comes to `config`."""
    given = _storable(block, config) if block else None
    initial = given or _storable(attrs.asdict(config, filter=lambda _, value: value is not None), config)
    return LiveConfig(ENTRY_ID, "HTTP", "HTTP server settings", schema, structure, initial, config, given)


def _storable(block: Mapping[str, Any], config: HttpConfig) -> dict[str, Any]:
    """A limit of 0, which files may say, is served as 1 and stored as that: entries do not take it."""
    return {**block, **({_LIMIT: config.slots} if _LIMIT in block else {})}


def waiting_keys(former: HttpConfig, wanted: HttpConfig) -> list[str]:
    """The keys that differ and take effect with another address or the next start only."""
    return [name for name in WAITING if getattr(former, name) != getattr(wanted, name)]


def may_replace(stored: HttpConfig, static: HttpConfig) -> bool:
    """Whether the file's address may stand in for a stored one that cannot be bound: never a wider one for loopback."""
    differs = (stored.host, stored.port) != (static.host, static.port)
    return differs and (is_loopback(static.host) or not is_loopback(stored.host))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    name = host.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"
