# SPDX-License-Identifier: Apache-2.0
"""The commands of the README, the Makefile and `.ci/run` are the same ones, and all of them run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .support.needs import EXTRAS, NEEDS

ROOT = Path(__file__).parents[1]
CI = (ROOT / ".ci/run").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def steps(text):
    """Return the commands of the steps in a piece of `.ci/run`."""
    return re.findall(r"^step (.+)$", text, re.M)


def readme_commands():
    """Return the commands of the README's first code block; a comment may go on in a line."""
    block = re.search(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert block
    lines = (line.split("#")[0].strip() for line in block[1].splitlines())
    return [line for line in lines if line]


def test_the_first_pass_is_the_readme():
    first, _ = CI.split("# Second pass")
    assert "make setup" not in first
    assert steps(first) == readme_commands() == ["make sim", "make test"]


def test_every_target_is_listed_and_run():
    targets = set(re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.M)[1].split()) - {"\\"}
    assert set(re.findall(r"^## ([a-z-]+): ", MAKEFILE, re.M)) == targets
    run = {word for step in steps(CI) if step.startswith("make ") for word in step.split()}
    assert targets <= run, f".ci/run does not run {sorted(targets - run)}"


def test_every_need_is_a_marker_and_a_command(pytestconfig):
    markers = {line.split(":")[0] for line in pytestconfig.getini("markers")}
    assert NEEDS.keys() <= markers
    extras = re.search(r"^extras:.*\n.* -m '\((.*?)\)", MAKEFILE, re.M)
    assert extras[1].split(" or ") == list(EXTRAS)
    for name, need in NEEDS.items():
        assert f"-m {name}" in need.command


@pytest.mark.parametrize("fails", [False, True])
def test_ci_ends_with_the_minutes_of_each_step(tmp_path, fails):
    """A copy of `.ci/run` whose make does nothing, or fails in one step alone."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "bin").mkdir()
    for name in ("make", "iverilog"):
        tool = tmp_path / "bin" / name
        tool.write_text(f'#!/bin/sh\n[ "$*" != lint ] || exit {int(fails)}\n')
        tool.chmod(0o755)
    done = subprocess.run(
        [str(tmp_path / ".ci/run")], env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"},
        capture_output=True, text=True, check=False, timeout=60,
    )
    assert done.returncode == fails, done.stderr
    table = done.stdout.split("minutes of each step\n")[1].splitlines()
    assert len(table) == len(steps(CI)) + 1
    assert all(re.match(r" +\d+:\d\d  (passed|FAILED)  make ", line) for line in table[:-1])
    assert [line.split()[-1] for line in table if "FAILED" in line] == ["lint"] * 2 * fails
