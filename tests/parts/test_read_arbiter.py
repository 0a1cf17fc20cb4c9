# SPDX-License-Identifier: Apache-2.0
"""Two or three clients on one master: everyone gets what he asked for, 0 is first."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.parts.axi import REQUEST, read_beat
from kiwicha.hw.parts.read_arbiter import ReadArbiter
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset

CFG = preset("tiny")


def answer(request):
    """Return the beats of a request; no two requests have the same."""
    beats = request["beats"]
    return [{"data": request["address"] + k, "last": int(k == beats - 1)} for k in range(beats)]


@cocotb.test(timeout_time=300, timeout_unit="us")
async def hands_back(dut):
    params = bench_params()
    seed = params["seed"]
    chooser = random.Random(seed)
    await start_clock_and_reset(dut)
    requests = [
        [{"address": (client * 1000 + k) << 16, "beats": chooser.randint(1, 5)} for k in range(40)]
        for client in range(params["clients"])
    ]
    policies = (params["ready"], params["other"], "random")[: params["clients"]]
    sources = [
        StreamSource(dut, f"request__{client}", REQUEST, policy=policy, seed=seed)
        for client, policy in enumerate(("random", "always", "bursty")[: params["clients"]])
    ]
    sinks = [
        StreamSink(dut, f"data__{client}", read_beat(CFG), policy=policy, seed=seed)
        for client, policy in enumerate(policies)
    ]
    arrived = StreamSink(dut, "master_request", REQUEST, policy="bursty", seed=seed)
    master = StreamSource(dut, "master_data", read_beat(CFG), policy="random", seed=seed)

    async def serve():
        while True:
            (request,) = await arrived.receive(1)
            # No memory answers before the next cycle but one.
            await ClockCycles(dut.clk, 2)
            master.put(answer(request))

    cocotb.start_soon(serve())
    for source, mine in zip(sources, requests, strict=True):
        source.put(mine)
    for sink, mine in zip(sinks, requests, strict=True):
        expected = [beat for request in mine for beat in answer(request)]
        assert await sink.receive(len(expected)) == expected
    await ClockCycles(dut.clk, 10)
    assert not any(sink.words for sink in sinks)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def prefers_client_0(dut):
    await start_clock_and_reset(dut)
    patient = [{"address": 0x8000 + k, "beats": 1} for k in range(6)]
    urgent = [{"address": 0x100 + k, "beats": 1} for k in range(2)]
    arrived = StreamSink(dut, "master_request", REQUEST)
    StreamSource(dut, "request__1", REQUEST).put(patient)
    first = StreamSource(dut, "request__0", REQUEST)
    await ClockCycles(dut.clk, 3)
    first.put(urgent)
    order = [request["address"] for request in await arrived.receive(8)]
    began = order.index(0x100)
    assert 0 < began < 6
    assert order[began : began + 2] == [0x100, 0x101]
    assert [address for address in order if address >= 0x8000] == [0x8000 + k for k in range(6)]


@cocotb.test(timeout_time=50, timeout_unit="us")
async def keeps_pace(dut):
    await start_clock_and_reset(dut)
    dut.master_request__ready.value = 1
    StreamSource(dut, "request__1", REQUEST).put(
        {"address": 64 * k, "beats": 1} for k in range(CFG.axi_outstanding + 4)
    )
    cycles = []
    for cycle in range(30):
        await RisingEdge(dut.clk)
        if dut.master_request__valid.value:
            cycles.append(cycle)
    # As many as a master can hold, one a cycle.
    assert len(cycles) == CFG.axi_outstanding + 4
    assert cycles[-1] - cycles[0] == len(cycles) - 1


@pytest.mark.parametrize("ready", READY_POLICIES)
@pytest.mark.parametrize(("other", "clients"), [("always", 2), ("bursty", 2), ("bursty", 3)])
def test_hands_back(ready, other, clients):
    params = {"ready": ready, "other": other, "clients": clients, "seed": 61}
    run_cocotb(ReadArbiter(CFG, clients), __name__, params=params, testcase="hands_back")


@pytest.mark.parametrize("case", ["prefers_client_0", "keeps_pace"])
def test_order(case):
    run_cocotb(ReadArbiter(CFG), __name__, testcase=case)
