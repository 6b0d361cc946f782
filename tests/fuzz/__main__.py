"""Fuzz every target for its share of the time, one process after the other; see CONTRIBUTING.md.

New inputs gather below `.cache/fuzz`, where the next run goes on from. An input that breaks a rule ends the run with exit
code 1 and is left there, too, to become a file of `corpus` together with its repair.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parents[2]
FOUND = ROOT / ".cache" / "fuzz"
NAMES = tuple(sorted(folder.name for folder in CORPUS.iterdir()))
LONGEST = 4096
INSTRUMENTED = ["iii_trio.protocol", "iii_trio.sockets", "websockets", "h11", "tests.fuzz"]


def main() -> int:
    """Exit code 0 if all went well."""
    options = parse()
    if options.target is not None:
        return fuzz(options.target, options.seconds, options.runs)
    share = options.seconds / len(NAMES)
    failed = [name for name in NAMES if subprocess.run(command_for(name, share), cwd=ROOT, check=False).returncode]
    return 1 if failed else 0


def command_for(name: str, seconds: float) -> Sequence[str]:
    return [sys.executable, "-m", "tests.fuzz", f"{max(1, round(seconds))}", "--target", name]


def fuzz(name: str, seconds: float, runs: int) -> int:
    """Fuzz one target in this process, which ends with the run. Returns 2 if there is no fuzzer."""
    try:
        import atheris
    except ImportError:
        print("the fuzzer is missing: .venv/bin/pip install -e '.[fuzz]'", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"-max_total_time={round(seconds)}",
        f"-runs={runs}",
        f"-max_len={LONGEST}",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        f"-artifact_prefix={FOUND / name}-",
        str(found),
        str(CORPUS / name),
    ]
    print(f"fuzzing {name} for {round(seconds)} s", file=sys.stderr, flush=True)
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just fuzz", description="fuzz the decoders")
    parser.add_argument("seconds", nargs="?", type=float, default=60.0, help="for all targets together; default: 60")
    parser.add_argument("--target", choices=NAMES, help="only this one")
    parser.add_argument("--runs", type=int, default=-1, help="inputs after which it ends, in any case")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
