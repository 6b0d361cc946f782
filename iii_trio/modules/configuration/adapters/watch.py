"""Tells when the files of a directory change, whoever changes them."""

import logging
import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

_log = logging.getLogger("iii_trio.configuration")
_DEBOUNCE_MS: Final = 500
_STEP_MS: Final = 100
_POLL_MS: Final = 1_000


@attrs.define(eq=False)
class Watch:
    """Follows one directory, which need not be there yet. Waits in a thread of its own, which `close` ends."""

    directory: Path
    _made: trio.Event = attrs.field(factory=trio.Event, init=False)
    _is_missing: bool = attrs.field(default=False, init=False)
    _notify: "RustNotify | None" = attrs.field(default=None, init=False)
    _closed: threading.Event = attrs.field(factory=threading.Event, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def wait(self) -> Collection[Path] | None:
        """Wait for changes; the paths, or None when it may be any: the first time, and after the directory was replaced."""
        if self._notify is None:
            if self._is_missing:
                await self._made.wait()
            self._made = trio.Event()
            self._notify = await trio.to_thread.run_sync(self._open)
            self._is_missing = self._notify is None
            return None  # what happened before
        changed = await trio.to_thread.run_sync(self._wait, self._notify, abandon_on_cancel=True, limiter=self._limiter)
        if self.directory.absolute() in changed:  # it was removed or moved: another of its name is another one
            self._notify = None
            return None
        return changed

    def directory_made(self) -> None:
        """Say that the directory is there now."""
        self._made.set()

    def close(self) -> None:
        """End a wait that is abandoned. Safe to repeat."""
        self._closed.set()

    # --- in threads -------------------------------------------------------------------------------------------------

    def _open(self) -> "RustNotify | None":
        if not self.directory.is_dir():
            return None
        from watchfiles._rust_notify import RustNotify  # its package takes as long to import as a start may take

        paths = [str(self.directory.absolute())]
        try:
            return RustNotify(paths, False, False, 0, False, False)
        except FileNotFoundError:  # gone this very moment
            return None
        except OSError as error:  # most often: the system's limit of watches is reached
            _log.warning("%s cannot be watched (%s): it is looked at once a second", self.directory, error)
            return RustNotify(paths, False, True, _POLL_MS, False, False)

    def _wait(self, notify: "RustNotify") -> Collection[Path]:
        found = notify.watch(_DEBOUNCE_MS, _STEP_MS, 0, self._closed)
        return {Path(path) for _, path in found} if isinstance(found, set) else ()
