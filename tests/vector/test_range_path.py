# SPDX-License-Identifier: Apache-2.0
"""Ranges of int32 sums against `machine.shifts`: live lanes, several instructions, slots."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.niti import magnitude
from kiwicha.hw.vector.range_path import RangePath, range_step
from kiwicha.hw.vector.slots import SETTLED
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SLOTS, VECTOR, VectorMode
from kiwicha.machine.latency import RANGE_SETTLE_LATENCY
from kiwicha.machine.records import SLOT_LAYOUT
from kiwicha.machine.shifts import exponent_of, range_exponent, settled

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack

CORNERS = [[0], [1], [-1], [2], [-2], [3], [-(1 << 31)], [(1 << 31) - 1]]
CORNERS += [[sign * ((1 << k) + d)] for k in range(2, 31) for sign in (1, -1) for d in (-1, 0, 1)]


def tensors(rng, count):
    yield from CORNERS
    for _ in range(count):
        size = int(rng.integers(1, 40))
        yield (rng.integers(-(1 << 31), 1 << 31, size) >> rng.integers(0, 32)).tolist()


@cocotb.test()
async def equals_machine_shifts(dut):
    params = bench_params()
    lanes, rng = params["lanes"], np.random.default_rng(7)
    cfg = AcceleratorConfig(columns=lanes, requantize_lanes=lanes)
    layout = range_step(cfg)
    await start_clock_and_reset(dut)
    greatest, kinds = 0, set()
    for tensor in tensors(rng, 150):
        fields = {name: int(rng.integers(2)) for name in ("begin", "settle")}
        fields["relu"] = int(rng.integers(2)) & fields["settle"]
        fields["scales"] = int(rng.integers(SLOTS + 1)) & -fields["settle"]
        fields |= {name: int(rng.integers(SLOTS)) for name in ("slot", "target")}
        fields |= {"high": int(rng.integers(1, 8)), "signal": int(rng.integers(32))}
        fields["zero_point"] = int(rng.choice((-256, 255, *rng.integers(-9, 9, 4))))
        scales = rng.integers(0, 1 << 32, SLOTS)
        if rng.random() < 0.5:  # near each other
            scales = (scales & 0x07FF_FFFF) + (60 << 24)
        slots = [{"scale": int(scale), "zero_point": 255} for scale in scales]
        dut.slots.value = sum(pack(SLOT_LAYOUT, s) << 40 * k for k, s in enumerate(slots))
        dut.take.value = 1
        dut.instruction.value = pack(VECTOR, {**fields, "mode": VectorMode.RANGE})
        await FallingEdge(dut.clk)
        # Others that are taken meanwhile are none: only the fields on `take` count.
        dut.take.value, dut.instruction.value = 0, (1 << 300) - 1
        greatest = max(0 if fields["begin"] else greatest, magnitude(tensor))
        for first in range(0, len(tensor), lanes):
            words = tensor[first : first + lanes]
            step = {"words": words + [-(1 << 31)] * (lanes - len(words)), "live": len(words) - 1}
            while rng.random() < 0.3:  # nothing comes
                dut.i__valid.value = 0
                dut.i__payload.value = pack(layout, {**step, "words": [1 << 30] * lanes, "last": 1})
                await FallingEdge(dut.clk)
            dut.i__valid.value = 1
            dut.i__payload.value = pack(layout, {**step, "last": int(first + lanes >= len(tensor))})
            assert not dut.measured.value
            await FallingEdge(dut.clk)
        dut.i__valid.value = 0
        waits = params["latency"] + fields["settle"] * RANGE_SETTLE_LATENCY
        made = None
        for cycle in range(waits + 3):
            assert bool(dut.measured.value) == (cycle == waits)
            if dut.settled__valid.value:
                assert cycle == waits - 1
                made = unpack(SETTLED, dut.settled__payload.value.to_unsigned())
            if cycle == waits:
                assert dut.signal.value.to_unsigned() == fields["signal"]
            await FallingEdge(dut.clk)
        if not fields["settle"]:
            assert made is None
            continue
        exponents = [exponent_of(np.uint32(scale).view(np.float32)) for scale in scales]
        floor = exponents[fields["scales"] - 1] if fields["scales"] else None
        before = exponents[fields["slot"]] + fields["zero_point"]
        shift, exponent = settled(
            greatest, fields["high"], before, gradient=bool(fields["relu"]), floor=floor
        )
        assert made == {
            "slot": fields["target"],
            "content": {"scale": exponent + 127 << 23, "zero_point": shift},
        }, (greatest, fields)
        kinds.add((min(shift, 1), exponent in (-126, 127)))
        kinds |= {"gone"} if shift == 32 else set()
        if floor is not None and not fields["relu"]:
            lift = floor - before - max(0, range_exponent(greatest) - fields["high"])
            kinds.add(("lifted", min(max(lift, -1), 32)))
    assert {(0, False), (1, False), (0, True), (1, True), "gone"} <= kinds
    assert {("lifted", -1), ("lifted", 32)} <= kinds
    assert len(kinds) > 10  # some that are shifted by a few bits more


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_against_machine_shifts(lanes):
    unit = RangePath(AcceleratorConfig(columns=lanes, requantize_lanes=lanes))
    params = {"lanes": lanes, "latency": unit.latency}
    run_cocotb(unit, __name__, params=params, simulator="verilator")
