"""Tells when the files of a directory change, whoever changes them."""

import logging
import os
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

_log = logging.getLogger("iii_trio.configuration")
_DEBOUNCE_MS: Final = 500
_STEP_MS: Final = 100
LOOK_PERIOD: float = 1.0
"""Seconds between two looks at a directory that the system does not watch."""


class _Source(Protocol):
    """What tells of changes, to a thread that may wait."""

    def wait(self, closed: threading.Event) -> Collection[Path] | None:
        """The paths of what has changed, None when it may be any; ends within a second once `closed` is set."""
        ...

    def close(self) -> None:
        """Give back what the system lends; a wait that still runs ends. Safe to repeat."""
        ...


@attrs.define(eq=False)
class Watch:
    """Follows one directory, which need not be there yet. Waits in a thread of its own, which `close` ends."""

    directory: Path
    _made: trio.Event = attrs.field(factory=trio.Event, init=False)
    _is_missing: bool = attrs.field(default=False, init=False)
    _source: _Source | None = attrs.field(default=None, init=False)
    _closed: threading.Event = attrs.field(factory=threading.Event, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def wait(self) -> Collection[Path] | None:
        """Wait for changes; the paths, or None when it may be any: the first time, and after the directory was replaced."""
        if self._source is None:
            if self._is_missing:
                await self._made.wait()
            self._made = trio.Event()
            self._source = await trio.to_thread.run_sync(self._open)
            self._is_missing = self._source is None
            return None  # what happened before
        changed = await trio.to_thread.run_sync(
            self._source.wait, self._closed, abandon_on_cancel=True, limiter=self._limiter
        )
        if changed is None or self.directory.absolute() in changed:  # it was moved: another of its name is another one
            self._source.close()
            self._source = None
            return None
        return changed

    def directory_made(self) -> None:
        """Say that the directory is there now."""
        self._made.set()

    def close(self) -> None:
        """End a wait that is abandoned, and the watch. Safe to repeat."""
        self._closed.set()
        if self._source is not None:
            self._source.close()

    def _open(self) -> _Source | None:
        """In a thread: begin to watch; None if there is nothing to watch."""
        if not self.directory.is_dir():
            return None
        from watchfiles._rust_notify import RustNotify  # its package takes as long to import as a start may take

        try:
            return _Notified(RustNotify([str(self.directory.absolute())], False, False, 0, False, False))
        except FileNotFoundError:  # gone this very moment
            return None
        except (OSError, RuntimeError) as error:
            # most often: a limit of the system, of watches or of who may have some
            _log.warning("%s cannot be watched (%s): it is looked at once a second", self.directory, error)
            return _Looking(self.directory, _look(self.directory))


@attrs.frozen
class _Notified:
    """Is told by the system."""

    notify: "RustNotify"

    def wait(self, closed: threading.Event) -> Collection[Path] | None:
        try:
            found = self.notify.watch(_DEBOUNCE_MS, _STEP_MS, 0, closed)
        except RuntimeError as error:  # more at once than the system notes, or a name that is no text
            _log.debug("%s; the whole directory is looked at", error)
            return None
        return {Path(path) for _, path in found} if isinstance(found, set) else ()

    def close(self) -> None:
        self.notify.close()


@attrs.define(eq=False)
class _Looking:
    """Looks for itself."""

    directory: Path
    _seen: Mapping[Path, tuple[int, ...]]

    def wait(self, closed: threading.Event) -> Collection[Path]:
        while not closed.wait(LOOK_PERIOD):
            before, self._seen = self._seen, _look(self.directory)
            changed = {path for path in before.keys() | self._seen.keys() if before.get(path) != self._seen.get(path)}
            if changed:
                return changed
        return ()

    def close(self) -> None:
        """Nothing is lent."""


def _look(directory: Path) -> Mapping[Path, tuple[int, ...]]:
    """What tells each file from what stood there before. A directory that is not there has none."""
    found = {}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):  # it has gone this very moment
                stat = entry.stat()
                found[Path(entry.path)] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found
