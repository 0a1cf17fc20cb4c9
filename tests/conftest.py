# SPDX-License-Identifier: Apache-2.0
"""Fixtures and report lines that all tests share."""

import gc
import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

from kiwicha.sim.simulator import SimulatorError, find_icarus, find_verilator

from .support.batch import BATCH
from .support.needs import NEEDS
from .support.slow import mark_slow
from .support.summary import skip_reasons, slowest_files, without_command

__all__: list[str] = []

# The same cases in every run, and no time limit a case: a loaded machine proves nothing.
hypothesis.settings.register_profile("kiwicha", deadline=None, derandomize=True)
hypothesis.settings.load_profile("kiwicha")

# Elaboration makes millions of objects and hardly any garbage in cycles. Looking for it was a
# fifth of the time, a quarter of a gigabyte is what it now takes.
gc.set_threshold(1_000_000)

# Most simulations are short: building them optimized takes ten times what they take.
os.environ.setdefault("KIWICHA_OPTIMIZE", "-O0")


def pytest_report_header() -> list[str]:
    """Say which simulators are here; what is missing decides what is skipped."""
    lines = []
    for find in (find_verilator, find_icarus):
        try:
            toolchain = find()
        except SimulatorError as error:
            lines.append(f"simulator: {error}")
        else:
            lines.append(f"simulator: {toolchain.name} {toolchain.version}")
    return lines


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Mark the slow cases of each test."""
    found = yield
    if isinstance(found, list):
        mark_slow([item for item in found if isinstance(item, pytest.Function)])
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes the fixture ``icarus``: ``-m icarus`` chooses these tests."""
    for item in items:
        if "icarus" in getattr(item, "fixturenames", ()):
            item.add_marker("icarus")


def pytest_collection_finish() -> None:
    """Look no more for garbage among thousands of tests."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs something that is not here, with the command that would run it."""
    BATCH.item = item
    for name, need in NEEDS.items():
        if item.get_closest_marker(name) and not need.there:
            pytest.skip(need.reason)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped a test without saying what would run it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and without_command(skip_reasons(reporter.stats.get("skipped", ()))):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what was skipped, with the command that runs it, and say where the time went."""
    reasons = skip_reasons(terminalreporter.stats.get("skipped", ()))
    if reasons:
        terminalreporter.section("skipped")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count:5} {reason}")
        for reason in without_command(reasons):
            terminalreporter.line(f"error: no command in {reason!r}: say \"run `...`\"")
    stats = terminalreporter.stats
    reports = [report for name in stats for report in stats[name] if hasattr(report, "duration")]
    if files := slowest_files(reports):
        terminalreporter.section("slowest files, all of their tests")
        for file, seconds in files:
            terminalreporter.line(f"{seconds:8.1f} s  {file}")

@pytest.fixture
def icarus() -> str:
    """Name of the four-state simulator; who takes it is skipped where there is none."""
    return find_icarus().name
