"""The published SDKs, each of them installed once under `.cache/sdks` and used from there by every later run.

Packages come as they are published: wheels from PyPI, no install scripts from npm, exact versions.
"""

import fcntl
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import attrs
from node_tools import find_node

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "sdks"
SCRIPTS = Path(__file__).parent / "scripts"
DEADLINE = 300.0  # seconds for one installation from the network


@attrs.frozen
class Sdk:
    """One release of one language's SDK. `name` is also the name of its worker and the prefix of what that registers."""

    name: str
    language: Literal["python", "node"]
    version: str


SDKS = (
    Sdk("python-oldest", "python", "0.9.0"),
    Sdk("python-old", "python", "0.11.6"),
    Sdk("python-new", "python", "0.25.0"),
    Sdk("node-oldest", "node", "0.9.0"),
    Sdk("node-old", "node", "0.11.6"),
    Sdk("node-new", "node", "0.22.1"),
)


def install(sdk: Sdk, cache: Path = CACHE) -> Path:
    """Where the SDK is installed: a virtual environment, or a folder with `node_modules`.

    Two that ask at once get one installation; one that was broken off half-way is made anew.
    """
    folder = cache / f"{sdk.language}-{sdk.version}"
    made_with = f"{sys.base_prefix} {sys.version}" if sdk.language == "python" else "npm"
    with _locked(folder):
        complete = folder / ".complete"
        if not complete.is_file() or complete.read_text() != made_with:
            shutil.rmtree(folder, ignore_errors=True)
            _install_python(sdk, folder) if sdk.language == "python" else _install_node(sdk, folder)
            complete.write_text(made_with)
    return folder


def worker_command(sdk: Sdk, installed: Path, folder: Path, script: str = "worker") -> list[str]:
    """How to run a script, by default the worker's, with this SDK, out of `folder`."""
    if sdk.language == "python":
        return [str(installed / "bin" / "python"), str(SCRIPTS / f"{script}.py")]
    # Node looks for packages beside the script, as in a project of its own.
    shutil.copy(SCRIPTS / f"{script}.mjs", folder)
    (folder / "node_modules").symlink_to(installed / "node_modules")
    return [find_node().node, str(folder / f"{script}.mjs")]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_python(sdk: Sdk, folder: Path) -> None:
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--only-binary", ":all:", f"iii-sdk=={sdk.version}"], folder)


def _install_node(sdk: Sdk, folder: Path) -> None:
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"private": True}))
    options = ["--save-exact", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _run([*find_node().npm, "install", *options, f"iii-sdk@{sdk.version}"], folder)


def _run(command: list[str], folder: Path) -> None:
    ran = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=DEADLINE)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)} failed ({ran.returncode}):\n{ran.stdout}{ran.stderr}")
