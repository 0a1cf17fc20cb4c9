# SPDX-License-Identifier: Apache-2.0
"""The walker's pauses: as long as the results of RAW and BLOCK need, and not a cycle longer."""

import random

import cocotb
import pytest
from cocotb.triggers import ReadOnly, RisingEdge

from kiwicha.hw.vector.modes import block_pauses
from kiwicha.hw.vector.pace import Pace
from kiwicha.machine.blocks import scale_bytes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VECTOR, VectorMode

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset

OUTPUT_BYTES = 256
MACHINES = {
    "no blocks": {"dynamic": True},
    "power of two": {"blocks": {"channels": 8}},
    "one lane": {"blocks": {"channels": 8, "scale": "free"}, "requantize_lanes": 1},
    "free": {"blocks": {"channels": 8, "scale": "free"}},
    "a step a block": {"blocks": {"channels": 8, "scale": "free"}, "requantize_lanes": 8},
    "multi-way": {"blocks": {"channels": 8, "scale": "multiway"}},
}


def machine(**more):
    more = {"columns": 8, "requantize_lanes": 4, "output_bytes": OUTPUT_BYTES} | more
    return AcceleratorConfig(axi_data_width=64, **more)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def pauses(dut):
    """Random steps of random instructions; every output in every cycle is what the times say."""
    cfg = AcceleratorConfig(**bench_params()["config"])
    rng, blocks = random.Random(3), cfg.blocks.channels > 0
    writes, spacing = block_pauses(cfg) if blocks else (0, 1)
    size = scale_bytes(cfg) if blocks else 0
    steps = cfg.blocks.channels // cfg.requantize_lanes
    for port in ("take", "move", "wide", "last", *(["hold"] if blocks else [])):
        dut[port].value = 0
    await start_clock_and_reset(dut)
    modes = [VectorMode.REQUANTIZE, VectorMode.RAW, *([VectorMode.BLOCK] if blocks else [])]
    wide_step = block_end = -1000  # the cycle of the last one
    mode, scale, place, left = VectorMode.REQUANTIZE, 0, 0, 0
    seen = {"wide": 0, "writes": 0, "spacing": 0, "hold": 0, "outside": 0, "blocks": 0}
    for cycle in range(6000):
        last, hold = rng.random() < 0.2, blocks and rng.random() < 0.1
        ended = last or place == steps - 1
        in_blocks = mode == VectorMode.BLOCK
        why = {
            "wide": cycle <= wide_step + 3,
            "writes": cycle <= block_end + writes,
            "spacing": in_blocks and ended and cycle < block_end + spacing,
            "hold": hold,
        }
        dut.wide.value, dut.last.value = int(mode == VectorMode.RAW), int(last)
        if blocks:
            dut.hold.value = int(hold)
        move = left > 0 and not any(why.values()) and rng.random() < 0.9
        take = left == 0 or (move and left == 1)
        dut.move.value, dut.take.value = int(move), int(take)
        if take:
            following = rng.choice(modes)
            fields = {"mode": following, "scales": rng.randrange(OUTPUT_BYTES)}
            empty = dict.fromkeys((name for name, _ in VECTOR), 0)
            dut.instruction.value = pack(VECTOR, empty | (fields if blocks else {}))
        await ReadOnly()
        assert bool(dut.paused.value) == any(why.values()), (cycle, why)
        if blocks:
            outside = in_blocks and scale + size > OUTPUT_BYTES
            assert bool(dut.outside.value) == outside
            seen["outside"] += outside
            if mode != VectorMode.REQUANTIZE and left:
                assert bool(dut.ended.value) == ended
            if in_blocks:
                assert dut.scale.value.to_unsigned() == scale
        seen = {name: seen[name] + why.get(name, 0) for name in seen}
        await RisingEdge(dut.clk)
        if move:
            left -= 1
            if mode == VectorMode.RAW:
                wide_step = cycle
            place = 0 if ended else place + 1
            if in_blocks and ended:
                block_end, scale = cycle, scale + size
                seen["blocks"] += 1
        if take:
            mode, scale, place, left = following, fields["scales"], 0, rng.randrange(1, 20)
    assert seen["wide"] > 50
    if blocks:
        assert seen["hold"] > 50
        assert seen["writes"] > 50
        assert seen["outside"] > 10
        assert seen["blocks"] > 50
        assert bool(seen["spacing"]) == (spacing > 1)


@pytest.mark.parametrize("name", MACHINES)
def test_pauses(name):
    cfg = machine(**MACHINES[name])
    run_cocotb(Pace(cfg), __name__, params={"config": cfg.to_dict()})
