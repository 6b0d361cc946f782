"""How the process of an engine treats freed memory: a burst of large messages must not stay on its bill."""

import ctypes
from contextlib import suppress
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 4 * 1024 * 1024
_KEPT: Final = 16 * _LARGE


def return_large_buffers() -> None:
    """Let glibc map every block of 4 MiB or more by itself, and so give it back the moment it is freed.

    Left alone, glibc moves its threshold up to the largest block freed so far; one message of 64 MiB then leaves
    150-200 MiB in a heap whose end is taken. Messages up to 4 MiB still reuse the heap, of which 64 MiB are kept.
    Without glibc nothing happens.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
