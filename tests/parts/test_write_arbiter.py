# SPDX-License-Identifier: Apache-2.0
"""Two clients on one write master: each one's data after its own requests, answers to who asked."""

import random

import cocotb
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Component, In, Out
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.parts.axi import REQUEST, write_beat
from kiwicha.hw.parts.write_arbiter import WriteArbiter
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset

CFG = preset("tiny")


class Arbitrated(Component):
    """The unit, its answers as plain bits: a simulator has no payload without bits."""

    def __init__(self):
        self.unit = unit = WriteArbiter(CFG)
        self.streams = ("request", "data", "master_request", "master_data")
        super().__init__({
            **{name: unit.signature.members[name] for name in self.streams},
            "answer": In(1), "answered": Out(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        for name in ("request", "data"):
            for number in range(2):
                wiring.connect(
                    m, wiring.flipped(getattr(self, name)[number]), getattr(unit, name)[number]
                )
        for name in ("master_request", "master_data"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(unit, name))
        m.d.comb += [
            unit.master_done.valid.eq(self.answer),
            self.answered.eq(Cat(done.valid for done in unit.done)),
        ]
        return m


def beats_of(request):
    """Return the beats of a request; no two requests have the same."""
    return [
        {"data": request["address"] + k, "strobe": (request["address"] + k) & 0xFF}
        for k in range(request["beats"])
    ]


@cocotb.test(timeout_time=300, timeout_unit="us")
async def keeps_data_with_requests(dut):
    params = bench_params()
    chooser = random.Random(params["seed"])
    await start_clock_and_reset(dut)
    clients = [
        [{"address": (client * 1000 + k) << 16, "beats": chooser.randint(1, 5)} for k in range(40)]
        for client in range(2)
    ]
    for number, mine in enumerate(clients):
        offer = ("random", "always")[number]
        StreamSource(dut, f"request__{number}", REQUEST, policy=offer, seed=1).put(mine)
        StreamSource(dut, f"data__{number}", write_beat(CFG), policy=offer, seed=2).put(
            beat for request in mine for beat in beats_of(request)
        )
    asked = StreamSink(dut, "master_request", REQUEST, policy=params["ready"], seed=3)
    written = StreamSink(dut, "master_data", write_beat(CFG), policy=params["ready"], seed=4)
    answers = [0, 0]

    async def count():
        while True:
            await RisingEdge(dut.clk)
            for number in range(2):
                answers[number] += int(dut.answered.value) >> number & 1

    cocotb.start_soon(count())
    expected = [0, 0]
    for _ in range(80):
        (request,) = await asked.receive(1)
        assert await written.receive(request["beats"]) == beats_of(request)
        await ClockCycles(dut.clk, chooser.randint(1, 4))
        dut.answer.value = 1
        await ClockCycles(dut.clk, 1)
        dut.answer.value = 0
        await ClockCycles(dut.clk, 2)
        expected[request["address"] >= 1000 << 16] += 1
        assert answers == expected
    assert expected == [40, 40]


@cocotb.test(timeout_time=50, timeout_unit="us")
async def leaves_no_gap(dut):
    await start_clock_and_reset(dut)
    runs = [{"address": k << 8, "beats": 2} for k in range(10)]
    StreamSource(dut, "request__1", REQUEST).put(runs)
    StreamSource(dut, "data__1", write_beat(CFG)).put(b for run in runs for b in beats_of(run))
    dut.master_request__ready.value = dut.master_data__ready.value = 1
    cycles = []
    for cycle in range(40):
        await RisingEdge(dut.clk)
        if dut.master_data__valid.value:
            cycles.append(cycle)
    assert cycles == list(range(cycles[0], cycles[0] + 20))


@pytest.mark.parametrize("ready", READY_POLICIES)
def test_keeps_data_with_requests(ready):
    params = {"ready": ready, "seed": 62}
    run_cocotb(Arbitrated(), __name__, params=params, testcase="keeps_data_with_requests")


def test_leaves_no_gap():
    run_cocotb(Arbitrated(), __name__, testcase="leaves_no_gap")
