# SPDX-License-Identifier: Apache-2.0
"""The datapath of optimizers against the golden one, weight by weight."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, FallingEdge

from kiwicha.golden.optimizer import accumulate, optimize
from kiwicha.hw.update.optimizer import CONSTANTS, OPTIMIZED, UNOPTIMIZED, Optimizer
from kiwicha.machine.modes import CellFamily
from kiwicha.machine.optimizer import OPTIMIZERS, optimizer_fields

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack
from .cases import random_fields, random_values

UNITS = {"whole": Optimizer(), "ecp5": Optimizer(18, CellFamily.ECP5)}


def cases(rng, count):
    """Fields and values: textbook optimizers near their working point, then anything legal."""
    for name in OPTIMIZERS:
        fields = random_fields(rng) | optimizer_fields(name, rate=0.01, epsilon=1e-6, decay=1e-4)
        w, m, v, a = random_values(rng, count)
        yield fields | {"gradient_shift": 8, "code_shift": 24}, (w >> 1, m >> 1, v >> 2, a >> 2)
    for number in range(40):
        selects = {"momentum": number & 1, "root": number >> 1 & 1}
        if number % 8 == 7:
            selects = {"momentum": 0, "root": 0, "accumulate": 1, "begin": number >> 3 & 1}
        yield random_fields(rng) | selects, random_values(rng, count)


def expected(fields, values):
    """Rows of (w, m, v, code, saturated), None where a value means nothing."""
    if fields["accumulate"]:
        sums, over = accumulate(fields, values[0], values[3])
        return [(int(s), None, None, None, int(o)) for s, o in zip(sums, over, strict=True)]
    columns = optimize(fields, *values)
    rows = zip(*columns, strict=True)
    return [
        (int(w), int(m) if fields["momentum"] else None, int(v) if fields["root"] else None,
         int(code), int(over))
        for w, m, v, code, over in rows
    ]


@cocotb.test()
async def every_step(dut):
    params = bench_params()
    rng = np.random.default_rng(182)
    latency = UNITS[params["unit"]].latency
    await start_clock_and_reset(dut)
    saturated = total = 0
    for fields, values in cases(rng, params["count"]):
        constants = {name: fields[name] for name in CONSTANTS.members}
        dut.constants.value = pack(CONSTANTS, constants)
        columns = zip(*(value.tolist() for value in values), strict=True)
        given = [dict(zip(UNOPTIMIZED.members, row, strict=True)) for row in columns]
        got, cycle, first = [], 0, None
        while len(got) < len(given):
            offer = cycle < len(given) and given[cycle]
            dut.i__valid.value = int(bool(offer))
            dut.i__payload.value = pack(UNOPTIMIZED, offer) if offer else int(rng.integers(1 << 60))
            await FallingEdge(dut.clk)
            cycle += 1
            if dut.o__valid.value:
                first = cycle if first is None else first
                got.append(unpack(OPTIMIZED, dut.o__payload.value.to_unsigned()))
        assert first == latency
        for row, wanted, made in zip(given, expected(fields, values), got, strict=True):
            seen = [made[name] for name in ("w", "m", "v", "code", "saturated")]
            for found, right in zip(seen, wanted, strict=True):
                assert right is None or found == right, (fields, row, seen, wanted)
            saturated += made["saturated"]
        total += len(given)
        await ClockCycles(dut.clk, 2)
        await FallingEdge(dut.clk)
    assert 0.1 * total < saturated < 0.9 * total


@pytest.mark.parametrize(("unit", "count"), [("whole", 60), ("ecp5", 40)])
def test_against_golden(unit, count):
    params = {"unit": unit, "count": count}
    run_cocotb(UNITS[unit], __name__, params=params, simulator="verilator")
