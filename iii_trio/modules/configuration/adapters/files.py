"""Files that are there whole, whatever happens while they are written."""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

import attrs


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in the place of another, or of none, so that after a crash one of the two is there, whole.

    It has the mode of the former one, and its owner where the system lets us; without one it is its owner's alone. Blocks.
    Raises OSError; nothing but a failure to put the directory on disk comes after the exchange.
    """
    former = path.stat() if path.exists() else None
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # values may be secrets
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if former is not None:
                with suppress(PermissionError):
                    os.fchown(descriptor, former.st_uid, former.st_gid)
                os.fchmod(descriptor, former.st_mode & 0o777)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Have it on disk which files there are. Blocks. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@attrs.define(eq=False)
class Claim:
    """Whether one engine has a directory for itself: a name that the system gives once, and takes back with the process.

    It is a socket nobody speaks to: a lock on the directory would keep its removal from whoever watches it.
    """

    directory: Path
    _name: socket.socket | None = attrs.field(default=None, init=False)

    def take(self) -> bool:
        """Claim the directory if it is there; again is no harm. False if another engine has it. Blocks."""
        if self._name is not None:
            return True
        with suppress(OSError):  # no directory yet, or a system without such names: nobody can tell
            place = self.directory.stat()
            self._name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                self._name.bind(f"\0iii-trio/configuration/{place.st_dev}-{place.st_ino}")
            except OSError as error:
                self.release()
                return error.errno != errno.EADDRINUSE
        return True

    def release(self) -> None:
        """Leave the directory to others."""
        if self._name is not None:
            self._name.close()
            self._name = None
