# SPDX-License-Identifier: Apache-2.0
"""The end of a test run, on a run of a few made-up tests in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from .needs import NEEDS, Need

ROOT = Path(__file__).parents[2]
TESTS = """
import time
import pytest

def test_slow():
    time.sleep(1.2)

@pytest.mark.fpga
@pytest.mark.parametrize("k", range(3))
def test_needy(k):
    raise AssertionError("run without what it needs")
"""
BARE = """
def test_bare():
    pytest.skip("not today")
"""
#: A conftest that is the project's, but for a need that nobody has.
CONFTEST = """
from tests.support.needs import NEEDS, Need
NEEDS["fpga"] = Need("a unicorn", "make unicorn", modules=("unicorn_of_nowhere",))
from tests.conftest import *
from tests.conftest import pytest_runtest_setup, pytest_sessionfinish, pytest_terminal_summary
"""


@pytest.fixture
def run(tmp_path):
    """Run made-up tests under the project's conftest; return the status and what was printed."""

    def run(text, *options):
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_made_up.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"),
                   f"--rootdir={tmp_path}", f"--confcutdir={tmp_path}", *options, str(tmp_path)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
        )
        return done.returncode, done.stdout

    return run


def test_skips_of_all_workers_are_counted_with_their_command(run):
    status, out = run(TESTS, "-n", "2")
    assert status == 0, out
    assert "    3 needs a unicorn: run `make unicorn`\n" in out
    seconds, file = out.split("slowest files")[1].splitlines()[1].split(" s ")
    assert float(seconds) >= 1.2
    assert file.strip().endswith("test_made_up.py")


def test_skip_without_a_command_fails_the_run(run):
    status, out = run(TESTS + BARE)
    assert status == 1, out
    assert "error: no command in 'not today'" in out


def test_half_an_installation_is_none():
    assert Need("", "", modules=("pytest",)).there
    assert not Need("", "", modules=("pytest", "unicorn_of_nowhere")).there
    assert not Need("", "", modules=("pytest",), programs=("unicorn-of-nowhere",)).there
    assert all("run `" in need.reason for need in NEEDS.values())
