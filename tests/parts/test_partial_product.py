# SPDX-License-Identifier: Apache-2.0
"""Partial products against Python's `*`: plain logic, and the cell of the ECP5."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.partial_product import (
    Ecp5PartialProduct,
    PartialProduct,
    partial_product_class,
)
from kiwicha.hw.verilog.emit import emit_verilog
from kiwicha.machine.modes import CellFamily

from ..compute.test_multiplier import ecp5_model
from ..support.bench import bench_params, build_verilog, run_build, run_cocotb
from ..support.streams import start_clock_and_reset


def operands(chooser, width, count):
    """Return signed operands, the corners among them."""
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    corners = (low, low + 1, -1, 0, 1, high - 1, high)
    return [
        chooser.choice(corners) if chooser.random() < 0.3 else chooser.randint(low, high)
        for _ in range(count)
    ]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def multiplies(dut):
    params = bench_params()
    widths, latency = params["widths"], params["latency"]
    chooser = random.Random(5)
    await start_clock_and_reset(dut)
    pairs = zip(*(operands(chooser, width, 3000) for width in widths), strict=True)
    expected = []
    for a, b in pairs:
        dut.a.value, dut.b.value = a & (1 << widths[0]) - 1, b & (1 << widths[1]) - 1
        expected.append(a * b)
        await FallingEdge(dut.clk)
        if len(expected) >= latency:
            assert dut.o.value.to_signed() == expected[-latency]


def parameters(unit, widths):
    return {"widths": widths, "latency": unit.latency}


@pytest.mark.parametrize("widths", [(18, 18), (9, 18), (2, 3)])
@pytest.mark.parametrize("kind", [PartialProduct, Ecp5PartialProduct])
def test_plain_logic(kind, widths):
    run_cocotb(kind(*widths), __name__, params=parameters(kind, widths))


def run_cell(text, widths):
    build = build_verilog(text + ecp5_model(), name="ecp5partialproduct")
    run_build(build, __name__, params=parameters(Ecp5PartialProduct, widths))


@pytest.mark.parametrize("widths", [(18, 18), (9, 17)])
def test_cell(widths):
    text = emit_verilog(Ecp5PartialProduct(*widths), "top")
    assert "MULT18X18D" in text
    run_cell(text, widths)


@pytest.mark.parametrize(("right", "wrong"), [
    (".CE0(1'h1)", ".CE0(1'h0)"), (".CE1(1'h1)", ".CE1(1'h0)"),
    ('.REG_OUTPUT_CLK("CLK0")', '.REG_OUTPUT_CLK("NONE")'),
])
def test_broken_cell_is_found(right, wrong):
    text = emit_verilog(Ecp5PartialProduct(18, 18), "top")
    assert right in text
    with pytest.raises(pytest.fail.Exception, match="multiplies"):
        run_cell(text.replace(right, wrong), (18, 18))


def test_choice():
    assert partial_product_class(CellFamily.ECP5, 18) is Ecp5PartialProduct
    assert partial_product_class(CellFamily.ECP5, 9) is Ecp5PartialProduct
    assert partial_product_class(CellFamily.ECP5, 25) is PartialProduct
    assert partial_product_class(CellFamily.GENERIC, 18) is PartialProduct
    with pytest.raises(ValueError, match="^b_width is 19; legal: 1 to 18$"):
        Ecp5PartialProduct(18, 19)
