# SPDX-License-Identifier: Apache-2.0
"""The skew triangle: lane k comes out k cycles later, shown by simulation and proved."""

import random

import cocotb
import pytest
from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from cocotb.triggers import FallingEdge, ReadOnly

from kiwicha.hw.compute.skew import Skew

from ..support.bench import bench_params, run_cocotb
from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from ..support.streams import pack, start_clock_and_reset, unpack


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def delays(dut):
    lanes = bench_params()["lanes"]
    shape = data.ArrayLayout(4, lanes)
    chooser = random.Random(lanes)
    await start_clock_and_reset(dut)
    history = []
    for _ in range(60):
        history.append([chooser.randrange(16) for _ in range(lanes)])
        dut.i.value = pack(shape, history[-1])
        await ReadOnly()
        if len(history) >= lanes:
            seen = unpack(shape, dut.o.value.to_unsigned())
            assert seen == [history[-1 - lane][lane] for lane in range(lanes)]
        await FallingEdge(dut.clk)


@pytest.mark.parametrize("lanes", [2, 5, 16])
def test_delays(lanes):
    unit = Skew(4, lanes)
    run_cocotb(unit, __name__, testcase="delays", params={"lanes": lanes}, uninitialized=True)


class SkewSpec(wiring.Component):
    """A history of one bit a lane: lane k equals its input of k cycles ago."""

    def __init__(self, lanes: int, wrong: int = 0) -> None:
        self.lanes = lanes
        self.wrong = wrong
        super().__init__({"i": In(data.ArrayLayout(1, lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = Skew(1, self.lanes)
        m.submodules.first = first = FirstCycle()
        m.d.comb += dut.i.eq(self.i)
        age = Signal(range(self.lanes + 2), reset_less=True)
        m.d.sync += age.eq(age + (age <= self.lanes))
        history = [self.i.as_value()]
        for cycle in range(1, self.lanes):
            past = Signal(self.lanes, name=f"past_{cycle}", reset_less=True)
            m.d.sync += past.eq(history[-1])
            history.append(past)
        for lane in range(self.lanes):
            with m.If(first.started & (age >= lane)):
                expected = history[lane - (self.wrong if lane == self.lanes - 1 else 0)][lane]
                m.d.comb += Assert(dut.o[lane] == expected)
                m.d.comb += Cover(dut.o[lane])
        return m


def test_proved():
    assert_proved(SkewSpec(4), depth=8)
    assert_proved(SkewSpec(4), depth=6, mode="prove")
    assert_covered(SkewSpec(4), depth=8)


def test_broken_is_refuted():
    assert_refuted(SkewSpec(4, wrong=1), depth=8)


def test_illegal_lanes():
    with pytest.raises(ValueError, match=r"^lanes is 0; legal: at least 1$"):
        Skew(4, 0)
