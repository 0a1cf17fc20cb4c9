# SPDX-License-Identifier: Apache-2.0
"""Sums on VECTOR's way out: every byte with every byte, by the tables in use."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.residual import residual_sum
from kiwicha.golden.vector import VectorState
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.narrow import answered_write
from kiwicha.hw.vector.residual import Residual
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack
from .vector_model import sum_state

DELAY = 9


async def write(dut, cfg, target, octets):
    beat = cfg.beat_bytes
    for address in range(0, len(octets), beat):
        word = int.from_bytes(octets[address : address + beat], "little")
        fields = {"target": target, "address": address, "data": word}
        dut.write__valid.value = 1
        dut.write__payload.value = pack(scratchpad_write(cfg), fields)
        await FallingEdge(dut.clk)
    dut.write__valid.value = 0


@cocotb.test()
async def adds_up(dut):
    params = bench_params()
    cfg = AcceleratorConfig(**params["config"])
    lanes, size = cfg.requantize_lanes, cfg.output_bytes
    rng = np.random.default_rng(3)
    await start_clock_and_reset(dut)
    state = VectorState()
    sum_state(cfg, rng, state)
    await write(dut, cfg, LoadTarget.SUMS, state.sums.tobytes())
    await write(dut, cfg, LoadTarget.ADDEND, state.addends.tobytes())
    layout = answered_write(cfg)
    for table in (0, 1):
        # A write in seven of eight cycles; `table` changes when nothing is under way.
        steps = [
            {"valid": int(rng.random() < 7 / 8), "data": rng.integers(0, 256, lanes, np.uint8),
             "address": int(rng.integers(size - lanes + 1)), "live": int(rng.integers(lanes)),
             "last": int(rng.integers(2)), "signal": int(rng.integers(16))}
            for _ in range(1500)
        ]
        seen = []
        dut.table.value = table
        for cycle in range(len(steps) + DELAY + params["latency"]):
            if cycle < len(steps):
                dut.address.value = steps[cycle]["address"]
            late = cycle - DELAY
            dut.i__valid.value = 0
            if 0 <= late < len(steps):
                step = steps[late]
                dut.i__valid.value = step["valid"]
                kept = {name: step[name] for name in ("last", "signal")}
                place = {name: step[name] for name in ("address", "live")}
                asked = {**kept, "write": {**place, "data": step["data"].tolist()}}
                dut.i__payload.value = pack(layout, asked)
            await FallingEdge(dut.clk)
            if dut.o__valid.value:
                seen.append(unpack(layout, dut.o__payload.value.to_unsigned()))
        expected = [step for step in steps if step["valid"]]
        assert len(seen) == len(expected)
        for came, step in zip(seen, expected, strict=True):
            addends = state.addends[step["address"] : step["address"] + lanes]
            sums = residual_sum(state.sums[table], step["data"], addends)
            assert list(came["write"]["data"]) == sums.tolist()
            assert came["write"]["address"] == step["address"]
            assert came["write"]["live"] == step["live"]
            assert (came["last"], came["signal"]) == (step["last"], step["signal"])


@pytest.mark.parametrize("lanes,width,more", [
    (1, 64, {}), (3, 256, {"pipeline": ()}), (8, 64, {}), (8, 128, {"cells": "ecp5"}),
])
def test_adds_up(lanes, width, more):
    cfg = AcceleratorConfig(
        columns=8, requantize_lanes=lanes, axi_data_width=width, output_bytes=1024,
        residual={"tables": 2}, **more,
    )
    unit = Residual(cfg, DELAY)
    run_cocotb(unit, __name__, params={"config": cfg.to_dict(), "latency": unit.latency})
