"""Files that are there whole, whatever happens while they are written."""

import os
from contextlib import suppress
from pathlib import Path


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
