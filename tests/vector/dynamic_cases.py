# SPDX-License-Identifier: Apache-2.0
"""Dynamic quantization by VECTOR where it is hardest: beside the zero point, near 0, overflown.

``bench`` is that of `tests.vector.test_vector`, ``expected`` the output buffer.
"""

import numpy as np
from cocotb.triggers import ClockCycles

from kiwicha.hw.parts.fault import FAULT
from kiwicha.machine.isa import Engine, ErrorCode, VectorMode

from ..support.streams import pack
from .vector_model import expected_output

__all__ = ["quantize_the_smallest", "quantize_to_every_number"]


async def quantize_to_every_number(bench, expected):
    """All accumulators by six pairs of slots: every small distance from the zero point."""
    cfg, slots, done = bench.cfg, bench.state.slots, len(bench.done)
    whole = {
        "mode": VectorMode.QUANTIZE, "channels": cfg.columns, "pixels": cfg.accumulator_depth,
        "lines": 1, "pixel_pitch": cfg.columns, "low": 0, "high": 255, "line_pitch": 0,
    }
    whole |= dict.fromkeys(("accumulator", "parameter", "local", "signal", "slot", "target"), 0)
    distances = set()
    for pair in range(6):
        fields = {**whole, "slot": pair % 2, "target": pair // 2}
        bench.source.put([fields])
        await bench.finish(done + pair + 1)
        expected_output(cfg, [fields], bench.raw, bench.accumulators, expected, bench.state)
        found = await bench.output()
        assert (found == expected).all(), f"slot {fields['slot']}, target {fields['target']}"
        results = found[: cfg.accumulator_depth * cfg.columns]
        distances |= set(results - int(slots["zero_point"][fields["target"]]))
    assert distances >= set(range(-16, 17))


async def quantize_the_smallest(bench, expected):
    """One channel whose values and scale are denormal, or nothing; then such as overflow."""
    cfg, slots = bench.cfg, bench.state.slots
    whole = {
        "channels": 1, "pixels": cfg.accumulator_depth * 3 // 4, "lines": 1, "line_pitch": 0,
        "pixel_pitch": 1, "low": 0, "high": 255, "target": 3, "begin": 1, "settle": 1, "signal": 5,
    }
    whole |= dict.fromkeys(("parameter", "local", "slot", "relu"), 0)
    few, rest = {"accumulator": 0, "pixels": 3}, {"accumulator": cfg.accumulator_depth // 4}
    measure = whole | rest | {"mode": VectorMode.MEASURE}
    quantize = whole | rest | {"mode": VectorMode.QUANTIZE, "begin": 0, "settle": 0}
    scales = []
    for power in (-116, -128, -130, -132, -135, -150):
        slots["scale"][0] = 1.5 * 2.0**power
        if power == -135:
            measure, quantize = measure | few, quantize | few
        await bench.load_slots()
        done = len(bench.done)
        bench.source.put([measure, quantize])
        await bench.finish(done + 2)
        expected_output(
            cfg, [measure, quantize], bench.raw, bench.accumulators, expected, bench.state
        )
        record = bench.dut.slots_record.value.to_unsigned().to_bytes(64, "little")
        assert record == slots.tobytes(), power
        assert (await bench.output() == expected).all(), power
        scales.append(slots["scale"][3])
    denormal = [0 < scale < np.finfo(np.float32).tiny for scale in scales]
    assert denormal == [False, True, True, True, False, False]
    assert scales[4:] == [0, 1]
    slots["scale"][0] = 3e38
    measure |= rest | {"pixels": cfg.accumulator_depth // 2}
    await bench.load_slots()
    assert not bench.errors
    bench.source.put([measure])
    await bench.finish(1 << 20)
    fault = {"code": ErrorCode.DYNAMIC_RANGE, "address": Engine.VECTOR}
    assert bench.errors == [pack(FAULT, fault)]
    await ClockCycles(bench.dut.clk, 100)
    record = bench.dut.slots_record.value.to_unsigned().to_bytes(64, "little")
    assert record == slots.tobytes()
    assert bench.dut.busy.value
