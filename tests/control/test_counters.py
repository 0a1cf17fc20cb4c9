# SPDX-License-Identifier: Apache-2.0
"""Counters count what happens while running, keep it, and lie in the record as documented."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, FallingEdge

from kiwicha.hw.control.counters import COUNTER_RECORD, Counters
from kiwicha.machine.isa import COUNTER_WORDS, ENGINES, Engine

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import start_clock_and_reset


@cocotb.test(timeout_time=100, timeout_unit="us")
@cocotb.parametrize(rate=[0.5, 1])
async def counts(dut, rate):
    params = bench_params()
    chooser = random.Random(6)
    await start_clock_and_reset(dut)
    dut.clear.value = 1
    await ClockCycles(dut.clk, params["clear_cycles"], FallingEdge)
    # As the documentation has it: the place of each count, in pieces of 32 bits.
    places = {"cycles": 0, "read_beat": 2, "written_beat": 3, "step": 14}
    places |= {("busy", e): 4 + 2 * e for e in range(ENGINES - 1)} | {("busy", Engine.UPDATE): 15}
    places |= {("stalled", e): 5 + 2 * e for e in range(ENGINES - 1)}
    absent = [(w, e) for w in ("busy", "stalled") for e in params["absent"] if (w, e) in places]
    counts = dict.fromkeys(places, 0)
    per_beat, beats = params["width"] // 32, 512 // params["width"]
    pieces = [[0] * 16]  # after each cycle
    due, asked, left, running, again = [None, None], 0, 0, True, 0
    clear = False
    for cycle in range(4000):
        await FallingEdge(dut.clk)
        if due[-2] is not None:
            given = unpack_pieces(dut.data.value.to_unsigned(), per_beat)
            low = due[-2] * per_beat
            # Of the cycle in which it was named, or of the one before.
            assert given in [record[low : low + per_beat] for record in pieces[-3:-1]], cycle
        if dut.there.value:
            place = dut.place.value.to_unsigned()
            assert dut.ask.value
            count = dut.count.value.to_unsigned()
            # One asked for before everything was cleared is 0 already.
            assert count in [record[place] for record in pieces[-3:-1]] or (clear and not count)
            dut.ask.value, again = 0, cycle + 3
        elif not dut.ask.value and cycle >= again and chooser.random() < rate:
            dut.ask.value, dut.place.value, asked = 1, chooser.randrange(16), cycle
        assert not dut.ask.value or cycle - asked < 40
        # Whole records, with gaps or without.
        left = left or (beats if chooser.random() < 0.1 else 0)
        enable = left > 0 and chooser.random() < rate
        dut.enable.value, dut.index.value = enable, beats - left if left else 0
        due.append(beats - left if enable else None)
        left -= enable
        running = running if chooser.random() < 0.9 else not running
        clear = cycle % 1500 in range(1000, 1060 + params["clear_cycles"])
        now = {name: chooser.random() < rate for name in places} | {"cycles": True}
        dut.clear.value, dut.running.value = clear, running
        for name in ("read_beat", "written_beat", "step"):
            getattr(dut, name).value = now[name]
        dut.busy.value = sum(now["busy", e] << e for e in range(ENGINES))
        dut.stalled.value = sum(now.get(("stalled", e), 1) << e for e in range(ENGINES))
        for name in counts:
            counts[name] = 0 if clear else counts[name] + (running and now[name])
        counts |= dict.fromkeys(absent, 0)
        record = [0] * 16
        for name, place in places.items():
            record[place] = counts[name]
        pieces.append(record)
        if clear:
            due += [None, None]
            left = 0


def unpack_pieces(value, count):
    """Return ``count`` pieces of 32 bits."""
    return [value >> 32 * k & 0xFFFFFFFF for k in range(count)]


@slow("absent0-64", "absent1-128", "absent1-256", "absent2-64", "absent2-256")
@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("absent", [(), (Engine.SPECIAL,), (Engine.UPDATE,)])
def test_counters(absent, width):
    engines = [engine for engine in Engine if engine not in absent]
    unit = Counters(engines, width)
    params = {"absent": list(absent), "width": width, "clear_cycles": unit.clear_cycles}
    run_cocotb(unit, __name__, params=params)


def test_record_fills_its_words():
    assert COUNTER_RECORD.size == 64 * COUNTER_WORDS
