# SPDX-License-Identifier: Apache-2.0
"""Fixtures and report lines that all tests share."""

import gc

import hypothesis
import pytest

from kiwicha.sim.simulator import SimulatorError, find_icarus, find_verilator

from .support.needs import NEEDS
from .support.slow import SLOW
from .support.summary import skip_reasons, slowest_files, without_command

__all__: list[str] = []

# The same cases in every run, and no time limit a case: a loaded machine proves nothing.
hypothesis.settings.register_profile("kiwicha", deadline=None, derandomize=True)
hypothesis.settings.load_profile("kiwicha")

# Elaboration makes millions of objects and hardly any garbage in cycles.
gc.set_threshold(100_000)


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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the slow cases; one that does not exist is an error where its whole file was read.

    Who takes the fixture ``icarus`` needs it: marked so that ``-m icarus`` chooses these tests.
    """
    for item in items:
        if "icarus" in getattr(item, "fixturenames", ()):
            item.add_marker("icarus")
    found = {item.nodeid: item for item in items}
    files = {name.split("::")[0] for name in found}
    slow = [f"{file}::{case}" for file, cases in SLOW.items() for case in cases if file in files]
    chosen = any("::" in argument for argument in config.args)
    missing = [name for name in slow if name not in found]
    if missing and not chosen:
        raise pytest.UsageError(f"tests/support/slow.py names what does not exist: {missing}")
    for name in slow:
        if name in found:
            found[name].add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs something that is not here, with the command that would run it."""
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
    stats = terminalreporter.stats
    reasons = skip_reasons(stats.get("skipped", ()))
    if reasons:
        terminalreporter.section("skipped")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count:5} {reason}")
        for reason in without_command(reasons):
            terminalreporter.line(f"error: no command in {reason!r}: say \"run `...`\"")
    tests = [report for name in stats for report in stats[name] if hasattr(report, "duration")]
    if files := slowest_files(tests):
        terminalreporter.section("slowest files, all of their tests")
        for file, seconds in files:
            terminalreporter.line(f"{seconds:8.1f} s  {file}")


@pytest.fixture
def icarus() -> str:
    """Name of the four-state simulator; who takes it is skipped where there is none."""
    return find_icarus().name
