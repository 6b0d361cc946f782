"""What a run of the bench measures, as values that go to JSON and come back."""

import json
from collections.abc import Sequence
from pathlib import Path

import attrs
import cattrs

ENGINE, FLOOR, GUARDED = "engine", "floor", "guarded"
"""The contestants; `guarded` is the engine behind a listener with access control."""


@attrs.frozen
class Window:
    """What one caller, or several, got done in one stretch of time."""

    calls: int
    per_s: float
    cpu_us: float
    """CPU time of the process under load per call, in microseconds."""

    p50_us: float
    p99_us: float


@attrs.frozen
class Routed:
    """Calls of one payload size through one fresh process: caller, router, worker, router, caller."""

    contestant: str
    size: int
    round: int
    one_at_a_time: Window
    saturated: Window


@attrs.frozen
class Fairness:
    """One connection's single calls while another keeps a thousand in flight."""

    contestant: str
    round: int
    worker: str
    """`own`: the single calls go to a worker of their own. `flooded`: to the one that is being flooded."""

    calls: int
    p50_us: float
    p99_us: float
    flood_per_s: float


@attrs.frozen
class InProcess:
    """Costs inside one process, in microseconds: the best batch of many."""

    spawn_us: float
    """A task spawned into an open nursery, which sets the event its parent waits for."""

    worker_call_us: float
    """`worker.trigger`, from one in-process worker to a function of another."""

    engine_call_us: float
    """`engine.invoke` of a function registered with `engine.register`."""


@attrs.frozen
class Idle:
    """Resident memory of one engine, in MiB, before and after `workers` connections that then do nothing."""

    workers: int
    empty_mib: float
    loaded_mib: float


@attrs.frozen
class Start:
    """Seconds from exec until every port takes connections (`trio`: until the interpreter that imported it has ended)."""

    what: str
    seconds: float


@attrs.frozen
class Scaling:
    """CPU time of the engine, in microseconds, for one operation while `present` others of its kind are registered."""

    what: str
    present: int
    round: int
    cpu_us: float


@attrs.frozen
class About:
    """Where and how a run was made."""

    when: str
    mode: str
    commit: str
    python: str
    packages: dict[str, str]
    machine: str
    cores: int
    placement: str
    """Whether router and load were pinned to cores (`routed.Pace` says to which)."""

    floor: str


@attrs.frozen
class Results:
    """One run."""

    about: About
    routed: Sequence[Routed]
    fairness: Sequence[Fairness]
    in_process: InProcess
    idle: Idle
    starts: Sequence[Start]
    scaling: Sequence[Scaling] = ()
    """Empty in a record from before it was measured."""


def dump(run: attrs.AttrsInstance, path: Path) -> None:
    """Write a run as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cattrs.unstructure(run), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read a run that `dump` wrote."""
    return cattrs.structure(json.loads(path.read_text(encoding="utf-8")), Results)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that at least `share` of them do not exceed (nearest rank)."""
    rank = -(-len(ordered) * round(share * 100) // 100)
    return ordered[max(rank, 1) - 1]
