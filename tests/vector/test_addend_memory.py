# SPDX-License-Identifier: Apache-2.0
"""Second operands: every lane's byte, from any address on, while other beats come in."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.addend_memory import AddendMemory
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset


@cocotb.test()
async def reads_what_was_written(dut):
    params = bench_params()
    cfg = AcceleratorConfig(**params["config"])
    lanes, beat, size = cfg.requantize_lanes, cfg.beat_bytes, cfg.output_bytes
    rng = np.random.default_rng(5)
    await start_clock_and_reset(dut)
    memory = np.zeros(size, np.uint8)
    beats = [*range(0, size, beat)]
    order = [*rng.permutation(beats), *rng.choice(beats, 400)]
    asked, written = [], []  # addresses and beats, a cycle each
    for cycle in range(len(order) + 300):
        dut.write__valid.value = 0
        target = None
        if cycle < len(order) and (cycle < len(beats) or rng.random() < 0.7):
            address, octets = int(order[cycle]), rng.integers(0, 256, beat, np.uint8)
            other = cycle >= len(beats) and cycle % 5 == 0
            target = LoadTarget.SUMS if other else LoadTarget.ADDEND
            fields = {"target": target, "address": address,
                      "data": int.from_bytes(octets.tobytes(), "little")}
            dut.write__valid.value = 1
            dut.write__payload.value = pack(scratchpad_write(cfg), fields)
        place = int(rng.integers(size))
        dut.address.value = place
        # A read sees the writes before the cycle in which the memories are read; of the one in that
        # very cycle it means nothing.
        asked.append(place)
        written.append((address, octets) if target == LoadTarget.ADDEND else None)
        await FallingEdge(dut.clk)
        read = cycle - params["latency"] + 1
        if read < len(beats):
            continue
        # The memories are read one cycle after the address came.
        for done in written[: read + 1]:
            if done is not None:
                memory[done[0] : done[0] + beat] = done[1]
        written[: read + 1] = [None] * (read + 1)
        places = (asked[read] + np.arange(lanes)) % size
        now = written[read + 1]
        known = np.ones(lanes, bool) if now is None else (places // beat * beat != now[0])
        got = dut.octets.value.to_unsigned().to_bytes(lanes, "little")
        assert (np.frombuffer(got, np.uint8) == memory[places])[known].all(), (cycle, places)


@pytest.mark.parametrize("columns,lanes,width,pipeline", [
    (4, 1, 64, True), (4, 3, 64, False), (16, 5, 64, True), (16, 16, 64, True), (8, 8, 128, False),
    (16, 8, 256, True),
])
def test_reads_what_was_written(columns, lanes, width, pipeline):
    cfg = AcceleratorConfig(
        columns=columns, requantize_lanes=lanes, axi_data_width=width, output_bytes=512,
        residual={"tables": 2}, **({} if pipeline else {"pipeline": ()}),
    )
    unit = AddendMemory(cfg)
    run_cocotb(unit, __name__, params={"config": cfg.to_dict(), "latency": unit.latency})
