"""What ended a part of the engine that had been running: in the log, for the restart alone says nothing."""

import logging

import attrs

from actors import Crashed, Event

_log = logging.getLogger("iii_trio.engine")


@attrs.define(eq=False)
class CrashLog:
    """Listens to the supervision tree. Parts that fail to start are left to who starts them: it gets the error."""

    _running: set[str] = attrs.field(factory=set)

    def note(self, event: Event) -> None:
        """Log the crash of a part that was ready."""
        if event.kind in {"started", "restarted"}:
            self._running.add(event.path)
        elif event.path in self._running:
            self._running.discard(event.path)
            if isinstance(event.exit, Crashed):
                _log.error("%s crashed", event.path, exc_info=event.exit.error)
