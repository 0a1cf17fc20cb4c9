# SPDX-License-Identifier: Apache-2.0
"""A batch of made-up tests: one process, for each test its own results and no other failures.

The made-up tests run in a pytest of their own, as `test_summary.py` does it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kiwicha.hw.load.matrix_writer import MatrixWriter
from kiwicha.hw.verilog.emit import emit_rtlil

from ..load.test_matrix_writer import MACHINES
from .batch import prefixes, renamed
from .yosys import rtlil_to_verilog

ROOT = Path(__file__).parents[2]
CONFTEST = """
from tests.conftest import *
from tests.conftest import icarus, pytest_runtest_setup
"""
UNIT = """
import random

import cocotb
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge

from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import start_clock_and_reset


class Adder(wiring.Component):
    i: In(8)
    o: Out(8)
    high: Out(4)

    def __init__(self, amount, broken=None):
        self.amount, self.broken = amount, broken
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i + (5 if self.amount == self.broken else self.amount))
        with m.If(self.o > 200):
            m.d.sync += self.high.eq(self.high + 1)
        return m


@cocotb.test()
async def adds(dut):
    await start_clock_and_reset(dut)
    assert dut.high.value == 0
    drawn = []
    for _ in range(20):
        drawn.append(random.randrange(256))
        dut.i.value = drawn[-1]
        await FallingEdge(dut.clk)
        assert int(dut.o.value) == (drawn[-1] + bench_params()["amount"]) % 256
    print("drawn", bench_params()["amount"], drawn[:3])


@cocotb.test()
async def exists(dut):
    assert dut.o is not None


BROKEN = {broken}


@pytest.mark.parametrize("policy", ["a", "b"])
@pytest.mark.parametrize("amount", [1, 2, 3])
def test_adds(amount, policy):
    result = run_cocotb(Adder(amount, BROKEN), __name__, params={{"amount": amount}})
    assert result.tests == 2
    print([line for line in result.log.splitlines() if line.startswith("drawn")])


def test_one(icarus):
    params = {{"amount": 7}}
    run_cocotb(Adder(7), __name__, params=params, testcase="adds", simulator=icarus)


def test_fails_as_it_should():
    with pytest.raises(pytest.fail.Exception, match="adds"):
        run_cocotb(Adder(9, 9), __name__, params={{"amount": 9}})


def test_by_itself():
    run_cocotb(Adder(8), __name__, params={{"amount": 8}}, extra_env={{"ALONE": "1"}})


def test_without_a_simulation():
    assert BROKEN != 4
"""


def run(folder, broken, *options):
    """Run the made-up tests; return whether each passed, and what was printed."""
    package = folder / "tests_made_up"
    package.mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (package / "__init__.py").touch()
    (package / "test_adder.py").write_text(UNIT.format(broken=broken))
    command = [sys.executable, "-m", "pytest", "-vrA", "-c", str(ROOT / "pyproject.toml"),
               f"--rootdir={folder}", f"--confcutdir={folder}", "-o", f"pythonpath={ROOT}",
               "-p", "no:cacheprovider", *options, str(package)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
    found = re.findall(r"^(PASSED|FAILED) \S+::(\S+)", done.stdout, re.MULTILINE)
    return {name: outcome == "PASSED" for outcome, name in found}, done.stdout


def drawn(out, case):
    """Return what the made-up test drew: random numbers by the name of the cocotb test."""
    part = out[out.index(f"test_adds[{case}] ___"):]
    return re.search(r"drawn.*\]", part)[0]


@pytest.mark.usefixtures("icarus")
def test_a_batch_fails_where_it_is_broken_and_nowhere_else(tmp_path):
    outcomes, out = run(tmp_path / "all", 2)
    assert len(outcomes) == 10, out
    failed = {name for name, passed in outcomes.items() if not passed}
    assert failed == {"test_adds[2-a]", "test_adds[2-b]"}, out
    logs = re.findall(r"log (\S+/simulation.log)", out)
    assert (len(logs), len(set(logs))) == (9, 2), out
    # One by itself is no batch, and all the same to the test.
    outcomes, alone = run(tmp_path / "one", 4, "-k", "1-b")
    assert outcomes == {"test_adds[1-b]": True}, alone
    assert "a part of it" not in alone
    assert drawn(alone, "1-b") == drawn(out, "1-b")


def test_names_of_equal_designs_differ():
    first, second, third = prefixes(["a", "b", "a"])
    assert first.removesuffix("_0_") == third.removesuffix("_1_")
    assert second not in (first, third)


def test_renaming_changes_names_of_modules_and_nothing_else():
    design = emit_rtlil(MatrixWriter(MACHINES["square"]))
    modules = re.findall(r"^module \\(\S+)", design, re.MULTILINE)
    assert len(modules) > 1
    text = renamed(design, "x_")
    assert re.findall(r"^module \\(\S+)", text, re.MULTILINE) == [f"x_{name}" for name in modules]
    assert rtlil_to_verilog(text).replace("x_", "") == rtlil_to_verilog(design).replace("x_", "")
