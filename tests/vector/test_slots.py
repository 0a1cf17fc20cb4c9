# SPDX-License-Identifier: Apache-2.0
"""Slots: what LOAD and the modes that settle them write, and the record that STORE reads."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.slots import SETTLED, Slots
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SLOT_BYTES, SLOTS, LoadTarget
from kiwicha.machine.records import SLOT_RECORD

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset


@cocotb.test()
async def keeps_what_is_written(dut):
    cfg, rng = AcceleratorConfig(**bench_params()["config"]), np.random.default_rng(1)
    beat = cfg.beat_bytes
    await start_clock_and_reset(dut)
    slots = np.zeros(SLOTS, SLOT_RECORD)
    for _ in range(400):
        address = int(rng.integers(SLOTS * SLOT_BYTES // beat)) * beat
        octets = rng.integers(0, 256, beat, np.uint8)
        behind = int(cfg.real.functions) * int(rng.integers(2)) * SLOTS * SLOT_BYTES
        target = int(rng.choice((LoadTarget.DYNAMIC, LoadTarget.DYNAMIC, LoadTarget.PARAMETER)))
        loads, settles = (int(rng.random() < 0.5) for _ in range(2))
        slot, scale, zero = int(rng.integers(SLOTS)), rng.integers(1 << 32), rng.integers(256)
        if loads and address // SLOT_BYTES <= slot < -(-(address + beat) // SLOT_BYTES):
            settles = 0  # no program does both at once
        dut.write__valid.value, dut.settled__valid.value = loads, settles
        word = int.from_bytes(octets.tobytes(), "little")
        dut.write__payload.value = pack(
            scratchpad_write(cfg), {"target": target, "address": address + behind, "data": word}
        )
        content = {"scale": int(scale), "zero_point": int(zero)}
        dut.settled__payload.value = pack(SETTLED, {"slot": slot, "content": content})
        await FallingEdge(dut.clk)
        if loads and target == LoadTarget.DYNAMIC and not behind:
            slots.view(np.uint8)[address : address + beat] = octets
        if settles:
            slots["scale"][slot] = np.uint32(scale).view(np.float32)
            slots["zero_point"][slot] = zero
        slots["rest"] = 0
        record = dut.record.value.to_unsigned().to_bytes(SLOTS * SLOT_BYTES, "little")
        assert record == slots.tobytes()
        shown = dut.slots.value.to_unsigned()
        for number, each in enumerate(slots):
            assert shown >> 40 * number & (1 << 40) - 1 == int.from_bytes(each.tobytes(), "little")


@pytest.mark.parametrize(("width", "functions"), [
    (64, True), (128, False), (256, True),
])
def test_keeps_what_is_written(width, functions):
    cfg = AcceleratorConfig(
        axi_data_width=width, dynamic=True, real={"bytes": 512, "functions": functions}
    )
    run_cocotb(
        Slots(cfg), __name__, params={"config": cfg.to_dict()}, simulator="verilator"
    )
