"""What an engine says about its settings before it starts: once each, in its log."""

import logging
from collections.abc import Sequence
from typing import Final

from .settings import Settings, WorkerListenerConfig

_log = logging.getLogger("iii_trio.engine")
_EVERY_INTERFACE: Final = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104  # compared with, not bound


def _is_guarded(listener: WorkerListenerConfig) -> bool:
    """Whether somebody has thought about who may do what on a listener."""
    return listener.rbac is not None or listener.middleware_function_id is not None


def log_notices(settings: Settings, listeners: Sequence[WorkerListenerConfig]) -> None:
    """Warn of what the settings ask for and this engine does not do, and of ports open to everybody.

    `listeners` are those that will be opened: `settings.listeners()` after flags were applied.
    """
    for warning in settings.warnings:
        _log.warning("%s", warning)
    for entry in settings.unbuilt:
        place = ": ".join(filter(None, (entry.location, entry.key)))
        name = f"'{entry.written}'" + (f" ({entry.module})" if entry.written != entry.module else "")
        _log.warning("%s: module %s is not part of this release and is not started", place, name)
    silent = settings.hosts_not_given()
    for declared, listener in zip(settings.listeners(), listeners, strict=True):
        if declared in silent and listener.host in _EVERY_INTERFACE and not _is_guarded(listener):
            _log.warning(
                "worker port %s is public and has no access control: everybody who reaches this machine may connect "
                "and call everything; configure `host` of iii-worker-manager, or give --host 127.0.0.1",
                listener.port,
            )
