"""The library of examples/ under schemathesis: `python -m tests.conformance.api_tester 200` tries 200 requests a route."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]


@contextmanager
def library() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The example on a free port; its address, and its process."""
    command = [sys.executable, "-W", "error", "-m", "examples.http_library", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()


def command(address: str, examples: int, *more: str) -> Sequence[str]:
    """What tries every route of the description at an address, with requests that fit it and requests that do not."""
    found = Path(sys.executable).with_name("schemathesis")
    return [
        str(found),
        "run",
        f"{address}/openapi.json",
        *("--checks", "all", "--seed", "1", "--no-color", "--max-examples", str(examples)),
        *more,
    ]


def main() -> int:
    """Exit code 0 if every answer is as described."""
    with library() as (address, _), TemporaryDirectory() as place:
        return subprocess.run(command(address, int(sys.argv[1]), *sys.argv[2:]), cwd=place, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
