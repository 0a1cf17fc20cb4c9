# SPDX-License-Identifier: Apache-2.0
"""Every rounding at every shift against the golden model, and the random words."""

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib.wiring import Component, In, Out
from cocotb.triggers import ClockCycles, FallingEdge

from kiwicha.golden.rounding import random_word, round_shift
from kiwicha.hw.parts.rounding import RandomWord, Round, random_key
from kiwicha.machine.modes import BlockRounding

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset


class Rounds(Component):
    """One of each rounding, side by side."""

    def __init__(self, fraction):
        self.units = {mode: Round(fraction, mode) for mode in BlockRounding}
        members = {}
        for mode, unit in self.units.items():
            members |= dict(unit.signature.members) | {f"o_{mode.value}": Out(signed(8))}
        super().__init__({name: member for name, member in members.items() if name != "o"})

    def elaborate(self, platform):
        m = Module()
        for mode, unit in self.units.items():
            m.submodules[mode.value] = unit
            m.d.comb += getattr(self, f"o_{mode.value}").eq(unit.o)
            for name in unit.signature.members:
                if name != "o":
                    m.d.comb += getattr(unit, name).eq(getattr(self, name))
        return m


class Keyed(Component):
    """A random word from seed and step of two cycles before, and index."""

    seed: In(32)
    step: In(32)
    index: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.word = word = RandomWord()
        m.d.comb += [
            word.key.eq(random_key(m, self.seed, self.step)),
            word.place.eq(self.index + word.key),
            self.o.eq(word.o),
        ]
        return m


def cases(fraction, seed, count=60):
    """Return ``(magnitude, negative, shift, word)`` around ties and all over the range."""
    rng = np.random.default_rng(seed)
    for shift in range(min(fraction, 48) + 1):
        one = 1 << shift
        for k in range(count):
            whole = int(rng.integers(0, 128)) if k % 3 else [0, 1, 126, 127][k % 4]
            half, all_ones = one >> 1, one - 1
            drawn = int(rng.integers(0, one))
            rest = [drawn, half, max(half - 1, 0), min(half + 1, all_ones), all_ones, 0][k % 6]
            near = (rest << 32 >> shift) + int(rng.integers(-1, 2))
            word = int(rng.integers(0, 1 << 32)) if k % 2 else min(max(near, 0), 0xFFFFFFFF)
            yield (whole << shift) + rest, k & 1, shift, word


@cocotb.test()
async def rounds(dut):
    fraction = bench_params()["fraction"]
    await start_clock_and_reset(dut)
    expected = []
    for seed in range(5):
        for magnitude, negative, shift, word in cases(fraction, seed):
            dut.value.value = magnitude << (fraction - shift)
            dut.negative.value, dut.upper.value = negative, (shift + 1) // 2
            dut.word.value = word
            exact = -magnitude if negative else magnitude
            expected.append((exact, shift, word))
            await FallingEdge(dut.clk)
            if len(expected) < 2:
                continue
            for mode in BlockRounding:
                found = getattr(dut, f"o_{mode.value}").value.to_signed()
                rounded = int(round_shift(*expected[-2][:2], mode.value, expected[-2][2]))
                assert found == min(rounded, 127), (mode.value, *expected[-2])


@cocotb.test()
async def draws(dut):
    rng = np.random.default_rng(8)
    await start_clock_and_reset(dut)
    expected = []
    for _ in range(300):
        corner = rng.choice([0, 1, 0xFFFFFFFF, -1], 3)
        drawn = rng.integers(0, 1 << 32, 3)
        seed, step, index = (int(d if c < 0 else c) for c, d in zip(corner, drawn, strict=True))
        dut.seed.value, dut.step.value = seed, step
        await ClockCycles(dut.clk, 2, FallingEdge)
        dut.index.value = index
        expected.append(int(random_word(seed, step, index)))
        await ClockCycles(dut.clk, 2, FallingEdge)
        assert dut.o.value.to_unsigned() == expected[-1]


@pytest.mark.parametrize("fraction", [3, 25, 40])
def test_rounding(fraction):
    run_cocotb(Rounds(fraction), __name__, params={"fraction": fraction}, testcase="rounds")


def test_random_word():
    run_cocotb(Keyed(), __name__, testcase="draws")


def test_bad_fraction():
    with pytest.raises(ValueError, match=r"^fraction is 49; legal: 2 to 48$"):
        Round(49, BlockRounding.HALF_UP)
