# SPDX-License-Identifier: Apache-2.0
"""STORE's answers, whatever order its segments end in: in the order in which they began."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from kiwicha.hw.store.answers import Answers, begun_layout
from kiwicha.machine.isa import ENGINES

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSource, start_clock_and_reset

DEPTH = 8


@cocotb.test(timeout_time=100, timeout_unit="us")
async def answers_in_order(dut):
    params = bench_params()
    chooser, forwarding = random.Random(params["seed"]), params["forwarding"]
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", begun_layout(forwarding), policy=params["policy"])
    segments = [
        {"last": chooser.getrandbits(1), "signal": chooser.getrandbits(ENGINES),
         **({"forwarded": chooser.getrandbits(1)} if forwarding else {})}
        for _ in range(200)
    ]
    segments[-1]["last"] = 1
    source.put(segments)
    kinds = [segment.get("forwarded", 0) for segment in segments]
    ends, done, expected = [0, 0], [], []
    began, history = 0, [0, 0, 0]
    answered = 0
    while len(done) < sum(segment["last"] for segment in segments):
        # What began three cycles ago may end, a segment of either kind in a cycle.
        may = history[0]
        now = [0, 0]
        for kind in range(2):
            due = kinds[:may].count(kind) - ends[kind]
            now[kind] = int(due > 0 and chooser.random() < params["ending"])
        dut.written.value = now[0]
        if forwarding:
            dut.forwarded.value = now[1]
        await RisingEdge(dut.clk)
        began = source.sent
        history = [*history[1:], began]
        if dut.done__valid.value:
            done.append(int(dut.done__payload.value))
        assert done == expected[: len(done)]
        assert len(done) >= len(expected) - 1
        ends = [ends[0] + now[0], ends[1] + now[1]]
        # One is answered a cycle, if all before it have ended.
        if answered < len(segments):
            kind = kinds[answered]
            if ends[kind] > kinds[:answered].count(kind):
                if segments[answered]["last"]:
                    expected.append(segments[answered]["signal"])
                answered += 1
    assert done == [segment["signal"] for segment in segments if segment["last"]]


@pytest.mark.parametrize("forwarding", [False, True])
@pytest.mark.parametrize(
    ("policy", "ending"),
    [("always", 0.9), ("random", 0.3), ("bursty", 0.5), ("random", 1.0)],
)
def test_answers_in_order(forwarding, policy, ending):
    params = {"seed": 5, "forwarding": forwarding, "policy": policy, "ending": ending}
    unit = Answers(DEPTH, forwarding=forwarding)
    run_cocotb(unit, __name__, params=params, testcase="answers_in_order")
