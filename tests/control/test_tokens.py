# SPDX-License-Identifier: Apache-2.0
"""Random token traffic against Python integers, up to and over a full counter."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge

from kiwicha.hw.control.tokens import Tokens
from kiwicha.hw.parts.fault import FAULT
from kiwicha.machine.isa import ENGINES, Engine, ErrorCode

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset, unpack


class Model:
    """The counters as integers; none for engines that are absent."""

    def __init__(self, bits, absent):
        self.absent = absent
        self.most = (1 << bits) - 1
        self.count = [[0] * ENGINES for _ in range(ENGINES)]

    def ready(self, consumer, mask):
        if consumer in self.absent:
            return False
        mask &= ~sum(1 << number for number in self.absent)
        return all(self.count[p][consumer] for p in range(ENGINES) if mask >> p & 1)

    def step(self, taken, given):
        """``taken``: mask per consumer; ``given``: mask per producer. Returns who overflowed."""
        overflowed = []
        for producer in range(ENGINES):
            for consumer in range(ENGINES):
                if producer in self.absent or consumer in self.absent:
                    continue
                change = (given[producer] >> consumer & 1) - (taken[consumer] >> producer & 1)
                total = self.count[producer][consumer] + change
                assert total >= 0
                if total > self.most:
                    overflowed.append(producer)
                self.count[producer][consumer] = min(total, self.most)
        return overflowed


@cocotb.test(timeout_time=500, timeout_unit="us")
async def follows_the_model(dut):
    params = bench_params()
    chooser = random.Random(params["seed"])
    model = Model(params["bits"], params["absent"])
    await start_clock_and_reset(dut)
    acquired = overflows = blocked = 0
    asked = [0] * ENGINES
    wanted = [None] * ENGINES
    reported = []
    for cycle in range(4000):
        # Phases of plenty and of want: otherwise counters stay about where they are.
        plenty = 0.7 if cycle // 500 % 2 else 0.1
        given = [0] * ENGINES
        for producer in range(ENGINES):
            given[producer] = sum(
                (chooser.random() < plenty) << consumer for consumer in range(ENGINES)
            )
            valid = chooser.random() < 0.6
            getattr(dut, f"release__{producer}__valid").value = valid
            getattr(dut, f"release__{producer}__payload").value = given[producer]
            given[producer] *= valid
        for consumer in range(ENGINES):
            if wanted[consumer] is None and chooser.random() < 0.5:
                wanted[consumer] = chooser.getrandbits(ENGINES) & chooser.getrandbits(ENGINES)
            valid = wanted[consumer] is not None
            asked[consumer] = wanted[consumer] if valid else chooser.getrandbits(ENGINES)
            getattr(dut, f"acquire__{consumer}__valid").value = valid
            getattr(dut, f"acquire__{consumer}__payload").value = asked[consumer]
        await ReadOnly()
        taken = [0] * ENGINES
        for consumer in range(ENGINES):
            ready = getattr(dut, f"acquire__{consumer}__ready").value
            assert ready == model.ready(consumer, asked[consumer]), f"cycle {cycle}"
            if wanted[consumer] is None:
                continue
            if ready:
                taken[consumer], wanted[consumer] = asked[consumer], None
                acquired += 1
            else:
                blocked += 1
        # Two cycles after the release.
        overflowed, reported = reported, model.step(taken, given)
        await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        assert dut.error__valid.value == bool(overflowed), f"cycle {cycle}"
        if overflowed:
            overflows += 1
            expected = {"code": ErrorCode.TOKEN_OVERFLOW.value, "address": min(overflowed)}
            assert unpack(FAULT, dut.error__payload.value.to_unsigned()) == expected
    dut._log.info(f"{acquired} acquired, {blocked} blocked, {overflows} overflows")
    assert acquired > 500
    assert blocked > 500
    assert overflows > 10


@pytest.mark.parametrize(("bits", "absent"), [(1, ()), (3, ()), (6, ()), (3, (Engine.SPECIAL,))])
def test_tokens(bits, absent):
    engines = [engine for engine in Engine if engine not in absent]
    params = {"seed": 11 + bits, "bits": bits, "absent": list(absent)}
    run_cocotb(Tokens(bits, engines), __name__, params=params)


def test_refuses_other_widths():
    for bits in (0, 17):
        with pytest.raises(ValueError, match=f"^bits is {bits}; legal: 1 to 16$"):
            Tokens(bits)
