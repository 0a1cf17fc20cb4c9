# SPDX-License-Identifier: Apache-2.0
"""Scale and zero point of a range against the golden model, over all of binary32."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from kiwicha.golden.dynamic import dynamic_scale
from kiwicha.hw.parts.float_units import INFINITE
from kiwicha.hw.vector.settle import Settle

from ..parts.float_cases import as_float, wide_of
from ..support.bench import run_cocotb
from ..support.streams import start_clock_and_reset


def ranges(rng):
    """Pairs (greatest, least) of magnitudes, as patterns of binary32."""
    few = (0, 1, 2, 3, 126, 127, 128, 254, 255, 256, 382, 383, 0x7FFFFF, 0x800000, 0x800001,
           0x43800000, 0x7F7FFFFF, 0x7EFFFFFF, 0x7F000000)
    yield from ((high, low) for high in few for low in few)
    for _ in range(350):  # scales that are denormal, halves between two of them among these
        total = int(rng.integers(0, 5 << 23)) >> int(rng.integers(0, 24))
        if rng.random() < 0.5:
            total = 255 * (2 * int(rng.integers(0, 1 << 14)) + 1) // 2 + int(rng.integers(0, 2))
        part = int(rng.integers(0, total + 1)) if rng.random() < 0.7 else 0
        units = np.array([total - part, part]) * 2.0**-149
        high, low = units.astype(np.float32).view(np.uint32)
        yield int(high), int(low)
    for _ in range(250):
        high = int(rng.integers(0, 0x7F800000))
        apart = int(rng.integers(-3 << 23, 3 << 23))
        yield high, int(np.clip(high + apart, 0, 0x7F7FFFFF)) if rng.random() < 0.7 else 0


@cocotb.test()
async def settles(dut):
    await start_clock_and_reset(dut)
    denormal = infinite = 0
    for index, pair in enumerate([*ranges(np.random.default_rng(9)), None, None, None]):
        if pair is None:  # infinite on either side, and on both
            beyond = INFINITE << 23 | 5
            wide = [(beyond, 0), (0, beyond), (0xFFFFFFFF, 0xFFFFFFFF)][index % 3]
        else:
            high, low = (as_float(np.array([each]))[0] for each in pair)
            wide = int(wide_of(high)), int(wide_of(low))
        dut.high.value, dut.low.value = wide
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        cycles = 1
        while not (dut.done.value or dut.failed.value):
            await FallingEdge(dut.clk)
            cycles += 1
            assert cycles <= Settle.latency
        assert cycles == Settle.latency
        found = dut.scale.value.to_unsigned(), dut.zero.value.to_unsigned()
        try:
            if pair is None:
                raise OverflowError
            scale, zero = dynamic_scale(-low, high)
        except OverflowError:
            assert (bool(dut.failed.value), bool(dut.done.value)) == (True, False), pair
            infinite += 1
            continue
        assert not dut.failed.value
        assert found == (int(scale.view(np.uint32)), zero), (hex(pair[0]), hex(pair[1]))
        denormal += scale < np.float32(2.0**-126)
    assert denormal > 400
    assert infinite > 3


def test_against_golden():
    run_cocotb(Settle(), __name__, simulator="verilator")
