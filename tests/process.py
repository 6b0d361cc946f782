"""What tests want to know of a machine and of the processes on it. Linux only, as the engine's own tests are."""

import socket
from pathlib import Path


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resident(process: int | str = "self") -> int:
    """Bytes of a process that are resident now."""
    return _status(process, "VmRSS")


def peak(process: int | str = "self") -> int:
    """Most bytes of a process that were resident at once, since its start or `forget_peak`."""
    return _status(process, "VmHWM")


def forget_peak(process: int | str = "self") -> int:
    """Let `peak` begin anew; the bytes that are resident now."""
    Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")
    return peak(process)


def _status(process: int | str, name: str) -> int:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition(f"{name}:")[2].split()[0])
