"""How long the engine takes from exec until its ports are open, beside an interpreter that imports Trio."""

import subprocess
import tempfile
import time
from pathlib import Path

from .processes import PYTHON, ProcessFailed, free_port, is_free, one_listener, serve_command, started
from .results import Start

TRIO, ONE_LISTENER, DEFAULTS = "trio", "one listener", "defaults"
HTTP_PORT = 3111


def measure_starts(times: int) -> list[Start]:
    """Every kind of start as often as asked, by turns. Raises ProcessFailed if the port of the http module is taken."""
    if not is_free(HTTP_PORT):
        raise ProcessFailed(f"port {HTTP_PORT} is taken; a start without configuration needs it")
    kinds = {TRIO: time_trio, ONE_LISTENER: time_one_listener, DEFAULTS: time_defaults}
    return [Start(what, measure()) for _ in range(times) for what, measure in kinds.items()]


def time_trio() -> float:
    """`python -c 'import trio'`, from exec to exit."""
    began = time.perf_counter()
    subprocess.run([PYTHON, "-c", "import trio"], check=True)
    return time.perf_counter() - began


def time_one_listener() -> float:
    """`serve` with a file that has one worker listener."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        return _time(serve_command(one_listener(port, Path(folder))), [port], Path(folder))


def time_defaults() -> float:
    """`serve` in a folder without configuration: all default modules, the http module among them."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        return _time([PYTHON, "-m", "iii_trio", "serve", "--port", str(port)], [port, HTTP_PORT], Path(folder))


def _time(command: list[str], ports: list[int], folder: Path) -> float:
    began = time.perf_counter()
    with started(command, ports, folder):
        return time.perf_counter() - began
