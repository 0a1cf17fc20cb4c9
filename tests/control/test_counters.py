# SPDX-License-Identifier: Apache-2.0
"""Counters count what happens while running, keep it, and lie in the record as documented."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from hw.control.counters import COUNTER_RECORD, Counters
from hw.isa import COUNTER_WORDS, ENGINES, Engine
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import start_clock_and_reset


@cocotb.test(timeout_time=100, timeout_unit="us")
async def counts(dut):
    chooser = random.Random(6)
    await start_clock_and_reset(dut)
    # As the documentation has it: (word, low bit, width) of each count.
    places = {"cycles": (0, 0, 64), "read_beat": (1, 0, 32), "written_beat": (1, 32, 32)}
    places |= {"step": (7, 0, 32)}
    places |= {("busy", e): (2 + e, 0, 32) for e in range(ENGINES)}
    places |= {("stalled", e): (2 + e, 32, 32) for e in range(ENGINES)}
    absent = [(what, e) for what in ("busy", "stalled") for e in bench_params()["absent"]]
    counts = dict.fromkeys(places, 0)
    for _ in range(2000):
        clear, running = chooser.random() < 0.002, chooser.random() < 0.8
        now = {name: chooser.random() < 0.5 for name in places} | {"cycles": True}
        dut.clear.value, dut.running.value = clear, running
        for name in ("read_beat", "written_beat", "step"):
            getattr(dut, name).value = now[name]
        dut.busy.value = sum(now["busy", e] << e for e in range(ENGINES))
        dut.stalled.value = sum(now["stalled", e] << e for e in range(ENGINES))
        for name in counts:
            counts[name] = 0 if clear else counts[name] + (running and now[name])
        counts |= dict.fromkeys(absent, 0)
        await FallingEdge(dut.clk)
        words = [dut.record.value.to_unsigned() >> 64 * k & (1 << 64) - 1 for k in range(8)]
        expected = [0] * COUNTER_WORDS
        for name, (word, low, _) in places.items():
            expected[word] |= counts[name] << low
        assert words == expected


@pytest.mark.parametrize("absent", [(), (Engine.SPECIAL,)])
def test_counters(absent):
    engines = [engine for engine in Engine if engine not in absent]
    run_cocotb(Counters(engines), __name__, params={"absent": list(absent)})


def test_record_fills_its_words():
    assert COUNTER_RECORD.size == 64 * COUNTER_WORDS
