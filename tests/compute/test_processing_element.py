# SPDX-License-Identifier: Apache-2.0
"""One processing element against its definition, cycle by cycle, with wrapping sums."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.systolic import matmul
from kiwicha.hw.compute.processing_element import ProcessingElement, psum_width

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset
from .operands import operand

SUMS = (0, -1, 2**31 - 1, -(2**31), 2**31 - 65536, 65535 - 2**31)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def accumulates(dut):
    latency, width, depthwise = (
        bench_params()[name] for name in ("latency", "width", "depthwise")
    )
    chooser = random.Random(5)
    await start_clock_and_reset(dut)
    following, current = 0, 0
    products = []
    for cycle in range(400):
        switch = cycle == 1 or (cycle > 1 and chooser.random() < 0.2)
        load = cycle == 0 or chooser.random() < 0.2
        activation, weight = operand(chooser), operand(chooser)
        psum = chooser.choice([*SUMS, chooser.randrange(-(2**20), 2**20)])
        for name, value in (("activation", activation), ("weight", weight)):
            getattr(dut, name).value = value & 0x1FF
        down = int(depthwise and chooser.random() < 0.5)
        if depthwise:
            own = operand(chooser)
            dut.own.value, dut.down.value = own & 0x1FF, down
            activation = own if down else activation
        dut.switch.value, dut.load.value = int(switch), int(load)
        dut.psum_in.value = psum & ((1 << width) - 1)
        # The activation that switches meets the weight that was next before this edge.
        current = following if switch else current
        products.append(int(matmul([[activation]], [[current]])[0, 0]))
        following = weight if load else following
        await FallingEdge(dut.clk)
        assert dut.activation_out.value.to_signed() == activation
        assert bool(dut.switch_out.value) == switch
        assert not depthwise or int(dut.down_out.value) == down
        if cycle >= latency + 1:
            total = psum + products[-latency]
            wrapped = (total + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)
            assert dut.psum_out.value.to_signed() == wrapped, cycle


@pytest.mark.parametrize("uninitialized", [False, True])
@pytest.mark.parametrize(("width", "depthwise"), [(18, False), (32, False), (32, True)])
def test_element(width, uninitialized, depthwise):
    unit = ProcessingElement(width=width, depthwise=depthwise)
    run_cocotb(
        unit,
        __name__,
        testcase="accumulates",
        params={"latency": unit.latency, "width": width, "depthwise": depthwise},
        uninitialized=uninitialized,
    )


@pytest.mark.parametrize("products", [1, 2, 3, 4, 7, 8, 64, 128])
def test_no_sum_leaves_its_width(products):
    corners = (-256, 255)
    extremes = [products * a * b for a in corners for b in corners]
    width = psum_width(products)
    assert all(-(2 ** (width - 1)) <= total < 2 ** (width - 1) for total in extremes)
    # One bit less would not do.
    assert max(extremes) >= 2 ** (width - 2)


def test_width_of_a_sum_is_that_of_psum_at_most():
    assert psum_width(1 << 20) == 32
