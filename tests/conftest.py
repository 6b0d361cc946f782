"""What holds for every test: Hypothesis is deterministic, and under CI nothing is skipped."""

import logging
import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

# Deterministic tests only; and no deadline per example, which a busy machine misses.
settings.register_profile("iii-trio", derandomize=True, deadline=None, database=None)
settings.load_profile("iii-trio")


@pytest.fixture(autouse=True)
def _own_working_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines keep their configuration values in `./config`: no test may leave any to the next one."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture
def loggers_as_they_were() -> Iterator[None]:
    """Undo what `configure_logging` does to the loggers of the engine, which outlive a test."""
    loggers = [logging.getLogger(name) for name in ("iii_trio", "actors")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: Any) -> None:
    """Make a skip a failure where `CI` is set: a machine that lacks something must not look like one that passes."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\n(CI is set: nothing may be skipped)"
