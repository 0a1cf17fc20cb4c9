# SPDX-License-Identifier: Apache-2.0
"""Fixtures and report lines that all tests share."""

import hypothesis
import pytest

from sim.simulator import SimulatorError, find_icarus, find_verilator

__all__: list[str] = []

# The same cases in every run, and no time limit a case: a loaded machine proves nothing.
hypothesis.settings.register_profile("kiwicha", deadline=None, derandomize=True)
hypothesis.settings.load_profile("kiwicha")


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


@pytest.fixture
def icarus() -> str:
    """Name of the four-state simulator; the test is skipped, with a reason, where it is missing."""
    try:
        return find_icarus().name
    except SimulatorError as error:
        pytest.skip(f"four-state test: {error}")
