# SPDX-License-Identifier: Apache-2.0
"""Beats that STORE forwards, between those that LOAD reads: all are written, each kind in order."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.isa import LoadTarget, WeightFormat
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSource
from .load_path import SIZE, LoadPath, instruction, serve, start, writes

MACHINES = {
    "forwarding": preset("tiny").replace(
        special={"lanes": 2, "bytes": 1024}, interleave={"rows": (3,)}, forwarding=True,
    ),
    "forwarding alone": preset("tiny").replace(forwarding=True),
}


@cocotb.test(timeout_time=500, timeout_unit="us")
async def writes_what_store_forwards(dut):
    params = bench_params()
    cfg, chooser = MACHINES[params["machine"]], random.Random(7)
    memory, beat = chooser.randbytes(SIZE), cfg.beat_bytes
    bench = await start(dut, cfg)
    serve(dut, memory, params["pause"], 7)
    # LOAD fills parameters and rows beside each other, STORE the other half of the activations.
    half, loads, expected = cfg.activation_bytes // 2, [], []
    for _ in range(40):
        address, length = chooser.randrange(SIZE // 2), chooser.randint(1, 300)
        fields = {"address": address, "length": length, "signal": chooser.getrandbits(5)}
        if cfg.interleave and chooser.random() < 0.5:
            fields |= {"format": WeightFormat.INTERLEAVED, "extent": 3, "local": 5}
        else:
            fields |= {"target": LoadTarget.PARAMETER, "local": address % beat}
        loads.append(instruction(cfg, **fields))
        if not fields.get("format"):
            expected += writes(cfg, memory, loads[-1])
    forwarded = [
        {"target": LoadTarget.ACTIVATION, "address": chooser.randrange(half, 2 * half, beat),
         "data": chooser.getrandbits(8 * beat)}
        for _ in range(800)
    ]
    source = StreamSource(dut, "forward", scratchpad_write(cfg), policy=params["policy"])
    bench.source.put(loads)
    source.put(forwarded)
    await bench.finish(len(loads))
    while source.sent < len(forwarded):
        await RisingEdge(dut.clk)
    await ClockCycles(dut.clk, 3)
    by_target = {
        target: [write for write in bench.writes if write[0] == target]
        for target in (LoadTarget.PARAMETER, LoadTarget.ACTIVATION)
    }
    assert by_target[LoadTarget.PARAMETER] == expected
    assert by_target[LoadTarget.ACTIVATION] == [
        tuple(write[name] for name in ("target", "address", "data")) for write in forwarded
    ]
    assert [mask for mask, *_ in bench.done] == [load["signal"] for load in loads]


@pytest.mark.parametrize("policy", ["always", "random", "bursty"])
@pytest.mark.parametrize(
    ("machine", "pause"), [("forwarding", 0), ("forwarding", 0.5), ("forwarding alone", 0.3)]
)
def test_writes_what_store_forwards(machine, pause, policy):
    params = {"machine": machine, "pause": pause, "policy": policy}
    unit = LoadPath(MACHINES[machine])
    run_cocotb(unit, __name__, params=params, testcase="writes_what_store_forwards")
