"""The load of `http_load` by wrk, with the options and the output of that: `python -m tests.bench.http_wrk --port N ...`."""

import argparse
import json
import math
import os
import subprocess
from pathlib import Path

import attrs
import cattrs

from .driver import cpu_seconds
from .http_load import BODY, parse
from .processes import last_line

_SCRIPT = Path(__file__).with_name("http_post.lua")


@attrs.frozen
class Told:
    """What the script says of one run of wrk; times in microseconds."""

    calls: int
    took_us: int
    p50_us: int
    p99_us: int
    refused: int
    """Answers with a status from 400 up."""

    broken: int
    """Connections and requests that came to nothing."""


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One run unobserved, and one whose calls and CPU time count. Raises RuntimeError if a request was not answered well."""
    run(options, options.warm_up)
    cpu = -cpu_seconds(options.pid)
    told = run(options, options.seconds)
    cpu += cpu_seconds(options.pid)
    per_s, cpu_us = told.calls / told.took_us * 1e6, cpu / told.calls * 1e6
    return {"calls": told.calls, "per_s": per_s, "cpu_us": cpu_us, "p50_us": told.p50_us, "p99_us": told.p99_us}


def run(options: argparse.Namespace, seconds: float) -> Told:
    """One run of wrk, which counts in whole seconds, of at least one. Raises RuntimeError if a request was not answered well."""
    pace = ["-t1", f"-c{options.connections}", f"-d{max(1, math.ceil(seconds))}s"]
    command = ["wrk", *pace, "-s", str(_SCRIPT), f"http://127.0.0.1:{options.port}{options.path}"]
    env = {**os.environ, "BENCH_BODY": BODY.decode()}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"wrk failed: {done.stdout.decode()}")
    return read(done.stdout)


def read(output: bytes) -> Told:
    """What wrk wrote. Raises RuntimeError if a request was not answered well: figures of such calls are worth nothing."""
    told = cattrs.structure(last_line(output), Told)
    if told.refused or told.broken or not told.calls:
        raise RuntimeError(f"{told.calls} requests were answered, not all of them well: {output.decode()}")
    return told


def version() -> str:
    """Which wrk it is."""
    done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)  # it exits with 1
    return " ".join(done.stdout.split()[:2])


if __name__ == "__main__":
    print(json.dumps(measure(parse())), flush=True)
