# SPDX-License-Identifier: Apache-2.0
"""The generic multiplier against Python's `*`: every pair of corners, random operands, swaps."""

import itertools
import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from hw.array.multiplier import GenericMultiplier, multiplier_class
from hw.config import MultiplierTarget
from tests.array.operands import CORNERS, operand
from tests.support.bench import run_cocotb
from tests.support.streams import start_clock_and_reset

LATENCY = GenericMultiplier.latency


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def multiplies(dut):
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
        if len(expected) >= LATENCY:
            assert dut.product.value.to_signed() == expected[-LATENCY]


@pytest.mark.parametrize("uninitialized", [False, True])
def test_generic(uninitialized):
    run_cocotb(
        GenericMultiplier(), __name__, testcase="multiplies", uninitialized=uninitialized
    )


def test_unknown_target():
    assert multiplier_class(MultiplierTarget.GENERIC) is GenericMultiplier
    with pytest.raises(ValueError, match=r"^multiplier is 'abacus'; legal: generic$"):
        multiplier_class("abacus")
