import os
import platform
import socket
import sys
from typing import Final

from iii_trio.protocol.messages import Announcement, Telemetry

RUNTIME: Final = "trio"
SDK_VERSION: Final = "0.25.0"
"""The level of the official SDKs whose manners this one has: names and owners by the rules of 0.23 (wire-protocol 0.2)."""


def default_name() -> str:
    """What a worker is called that was given no name: `III_WORKER_NAME`, else `hostname:pid` (wire-protocol 3.3)."""
    return os.environ.get("III_WORKER_NAME") or f"{socket.gethostname()}:{os.getpid()}"


def identify(name: str, namespace: str, description: str | None) -> Announcement:
    """Who a worker is, in the words of wire-protocol 3.3."""
    return Announcement(
        runtime=RUNTIME,
        version=SDK_VERSION,
        name=name,
        description=description,
        os=f"{sys.platform} {platform.machine()}",
        pid=os.getpid(),
        telemetry=Telemetry(language="python", framework="trio"),
        namespace=namespace,
    )
