# SPDX-License-Identifier: Apache-2.0
"""Fixtures and report lines that all tests share."""

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from kiwicha.sim.simulator import SimulatorError, find_icarus, find_verilator

from .support.batch import BATCH
from .support.budget import (
    BUDGETS,
    TABLE,
    cpu_seconds,
    over_budget,
    rooms,
    scale_of,
    spent_by_file,
    written,
)
from .support.needs import NEEDS
from .support.slow import mark_slow
from .support.summary import scores, skip_reasons, slowest_files, without_command

__all__: list[str] = []

# The same cases in every run, and no time limit a case: a loaded machine proves nothing.
hypothesis.settings.register_profile("kiwicha", deadline=None, derandomize=True)
hypothesis.settings.load_profile("kiwicha")

# Elaboration makes millions of objects and hardly any garbage in cycles. Looking for it was a
# fifth of the time, a quarter of a gigabyte is what it now takes.
gc.set_threshold(1_000_000)


# Most simulations are short: building them optimized takes ten times what they take.
os.environ.setdefault("KIWICHA_OPTIMIZE", "-O0")

_begun = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `make budget` says."""
    parser.addoption(
        "--write-budget", nargs="?", const=str(TABLE), metavar="FILE",
        help="write the CPU seconds of each test file (to tests/budget.toml)",
    )


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
    """Put first what takes longest, so that the workers end together.

    Who takes the fixture ``icarus`` needs it: marked so that ``-m icarus`` chooses these tests.
    """
    items.sort(key=lambda item: -BUDGETS.get(item.nodeid.split("::")[0], 0))
    for item in items:
        if "icarus" in getattr(item, "fixturenames", ()):
            item.add_marker("icarus")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look no more for garbage among thousands of tests; the first one begins."""
    gc.freeze()
    session.stash[_begun] = cpu_seconds()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs something that is not here, with the command that would run it."""
    BATCH.item = item
    for name, need in NEEDS.items():
        if item.get_closest_marker(name) and not need.there:
            pytest.skip(need.reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add to each report the CPU seconds since the one before."""
    report = yield
    now = cpu_seconds()
    report.cpu = now - item.session.stash[_begun]
    item.session.stash[_begun] = now
    return report


def _reports(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    return [one for name in reporter.stats for one in reporter.stats[name]
            if isinstance(one, pytest.TestReport)]


def _out_of_budget(config: pytest.Config, spent: dict[str, float]) -> list[str]:
    """Return which files took too long, if all tests were run and what they need is there."""
    chosen = {"-k", "-m"} & {argument[:2] for argument in config.invocation_params.args}
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not chosen
    scale = scale_of(spent)
    return over_budget(spent, scale) if whole and scale and NEEDS["icarus"].there else []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped a test without saying what would run it, or was out of budget."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    spent = spent_by_file(_reports(reporter))
    if file := session.config.getoption("write_budget", default=None):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(written(spent), encoding="utf-8")
    elif _out_of_budget(session.config, spent) or without_command(
        skip_reasons(reporter.stats.get("skipped", ()))
    ):
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
    reports = _reports(terminalreporter)
    if files := slowest_files(reports):
        terminalreporter.section("slowest files, all of their tests")
        for file, seconds in files:
            terminalreporter.line(f"{seconds:8.1f} s  {file}")
    if found := scores(reports):
        terminalreporter.section("mutation scores")
        for unit, score in found:
            terminalreporter.line(f"{score}  {unit}")
    spent = spent_by_file(reports)
    if scale := scale_of(spent):
        terminalreporter.section(f"CPU seconds of each room, and its budget times {scale:.2f}")
        for room, took, may in rooms(spent, scale):
            terminalreporter.line(f"{took:8.1f} {may:8.1f}  {room}")
        for sentence in _out_of_budget(terminalreporter.config, spent):
            terminalreporter.line(f"error: {sentence}")


@pytest.fixture
def icarus() -> str:
    """Name of the four-state simulator; who takes it is skipped where there is none."""
    return find_icarus().name
