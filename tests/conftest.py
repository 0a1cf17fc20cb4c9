# SPDX-License-Identifier: Apache-2.0
"""Fixtures and report lines that all tests share."""

import gc

import hypothesis
import pytest

from sim.simulator import SimulatorError, find_icarus, find_verilator
from tests.support.slow import SLOW

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
    """Mark the slow cases; one that does not exist is an error where its whole file was read."""
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


@pytest.fixture
def icarus() -> str:
    """Name of the four-state simulator; the test is skipped, with a reason, where it is missing."""
    try:
        return find_icarus().name
    except SimulatorError as error:
        pytest.skip(f"four-state test: {error}")
