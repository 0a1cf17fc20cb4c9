# SPDX-License-Identifier: Apache-2.0
"""Tables on VECTOR's way out: every byte through every table, and what passes by."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.function_table import look_up
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.function_table import FunctionTable
from kiwicha.hw.vector.narrow import answered_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset, unpack

DELAY = 3


@cocotb.test()
async def looks_up_every_byte(dut):
    params = bench_params()
    cfg = AcceleratorConfig(**params["config"])
    lanes, tables, beat = cfg.requantize_lanes, cfg.functions.tables, cfg.beat_bytes
    rng = np.random.default_rng(3)
    await start_clock_and_reset(dut)
    contents = rng.integers(0, 256, (tables, 256), np.uint8)
    octets = contents.tobytes()
    for address in range(0, len(octets), beat):
        word = octets[address : address + beat]
        for target, data in ((LoadTarget.FUNCTION, word), (LoadTarget.PARAMETER, rng.bytes(beat))):
            fields = {"target": target, "address": address, "data": int.from_bytes(data, "little")}
            dut.write__valid.value = 1
            dut.write__payload.value = pack(scratchpad_write(cfg), fields)
            await FallingEdge(dut.clk)
    dut.write__valid.value = 0

    # Every byte of every table on lane 0, other ones on the rest; a write in seven of eight cycles.
    layout, steps = answered_write(cfg), []
    for table in range(tables):
        for octet in rng.permutation(256):
            data = rng.integers(0, 256, lanes, np.uint8)
            data[0] = octet
            steps.append({
                "valid": int(rng.random() < 7 / 8), "function": int(rng.random() < 0.8),
                "enable": int(rng.random() < 0.9), "table": table, "data": data,
                "address": int(rng.integers(cfg.output_bytes)), "live": int(rng.integers(lanes)),
                "last": int(rng.integers(2)), "signal": int(rng.integers(16)),
            })
    seen = []
    for cycle in range(len(steps) + DELAY + params["latency"]):
        if cycle < len(steps):
            dut.function.value, dut.table.value = steps[cycle]["function"], steps[cycle]["table"]
        late = cycle - DELAY
        dut.i__valid.value = 0
        if 0 <= late < len(steps):
            step = steps[late]
            dut.enable.value, dut.i__valid.value = step["enable"], step["valid"]
            named = {name: step[name] for name in ("last", "signal")}
            write = {"address": step["address"], "live": step["live"],
                     "data": step["data"].tolist()}
            dut.i__payload.value = pack(layout, {**named, "write": write})
        await FallingEdge(dut.clk)
        if dut.o__valid.value:
            seen.append(unpack(layout, dut.o__payload.value.to_unsigned()))
    expected = [step for step in steps if step["valid"]]
    assert len(seen) == len(expected)
    for came, step in zip(seen, expected, strict=True):
        used = step["function"] and step["enable"]
        data = look_up(contents[step["table"]], step["data"]) if used else step["data"]
        assert list(came["write"]["data"]) == data.tolist()
        assert (came["write"]["address"], came["write"]["live"]) == (step["address"], step["live"])
        assert (came["last"], came["signal"]) == (step["last"], step["signal"])


@pytest.mark.parametrize("lanes,width,tables", [(1, 64, 2), (3, 256, 8), (8, 128, 4)])
def test_looks_up_every_byte(lanes, width, tables):
    cfg = AcceleratorConfig(
        columns=8, requantize_lanes=lanes, axi_data_width=width, functions={"tables": tables},
    )
    unit = FunctionTable(cfg, DELAY)
    run_cocotb(
        unit, __name__, params={"config": cfg.to_dict(), "latency": unit.latency},
    )
