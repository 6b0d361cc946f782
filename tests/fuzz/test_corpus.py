"""Every input of the corpus once more, without a fuzzer: what was interesting, and what went wrong once."""

import subprocess
import sys
from pathlib import Path

import pytest

from .__main__ import CORPUS, NAMES, ROOT
from .targets import TARGETS

INPUTS = [
    pytest.param(name, path, id=f"{name}/{path.name}") for name in NAMES for path in sorted((CORPUS / name).iterdir())
]


def test_every_target_has_a_corpus() -> None:
    assert set(TARGETS) == set(NAMES)
    assert all(any((CORPUS / name).iterdir()) for name in NAMES)


@pytest.mark.parametrize(("name", "path"), INPUTS)
def test_an_input_of_the_corpus(name: str, path: Path) -> None:
    TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_no_input_and_every_byte(name: str) -> None:
    for data in (b"", *(bytes([byte]) for byte in range(256))):
        TARGETS[name](data)


def test_without_a_fuzzer_it_says_how_to_get_one() -> None:
    """In an interpreter in which `atheris` cannot be imported, whether it is installed or not."""
    program = "import sys; sys.modules['atheris'] = None; from tests.fuzz.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "1", "--target", "frames"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "pip install -e '.[fuzz]'" in done.stderr
