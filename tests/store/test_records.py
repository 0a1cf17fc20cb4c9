# SPDX-License-Identifier: Apache-2.0
"""Any beat of any record, one named in every cycle, while the records change."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.store.records import KEPT, RECORD_LATENCY, Records, record_bytes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import StoreSource
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset


@cocotb.test(timeout_time=100, timeout_unit="us")
async def gives_the_beat(dut):
    cfg = AcceleratorConfig(**bench_params()["config"])
    await start_clock_and_reset(dut)
    chooser, sizes = random.Random(5), record_bytes(cfg)
    places = [(k, i) for k, size in sizes.items() for i in range(size // cfg.beat_bytes)]
    expected = [None] * RECORD_LATENCY
    for kind, index in places + chooser.choices(places, k=100):
        contents = {}
        for source, size in sizes.items():
            contents[source] = chooser.randbytes(size)
            if source in KEPT:
                port = getattr(dut, KEPT[source])
                port.value = int.from_bytes(contents[source], "little")
        dut.kind.value, dut.index.value = kind, index
        beat = contents[kind][index * cfg.beat_bytes :][: cfg.beat_bytes]
        expected.append((int.from_bytes(beat, "little"), kind, index))
        # The counters' beat comes from their memory when it is due.
        due = expected[-RECORD_LATENCY]
        counters = due is not None and due[1] == StoreSource.COUNTERS
        dut.counters.value = due[0] if counters else chooser.getrandbits(cfg.axi_data_width)
        # Half a cycle before the next beat is named, the one before the last is there.
        await FallingEdge(dut.clk)
        if due is not None:
            assert dut.data.value == due[0], due[1:]


@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("more", [{"dynamic": True}, {"statistics": {"elements": 256}},
                                  {"dynamic": True, "statistics": {"elements": 256}}])
def test_machines(width, more):
    cfg = preset("tiny").replace(axi_data_width=width, **more)
    run_cocotb(Records(cfg), __name__, params={"config": cfg.to_dict()})
