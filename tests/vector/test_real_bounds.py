# SPDX-License-Identifier: Apache-2.0
"""Bounds of binary32 values against NumPy: corners, crossed bounds, what is not finite."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, FallingEdge

from kiwicha.golden.dynamic import bounded
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.real_bounds import RealBounds
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import BOUNDS_PLACE, LoadTarget

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset

LARGEST = np.finfo(np.float32).max
PAIRS = [
    (0, 6), (-0.0, 1), (-3, 3), (-LARGEST, LARGEST), (-LARGEST, -0.0), (-1e-45, 1e-45), (2, 2),
    (-7, -3), (5, -5), (1e-45, 3e-39), (0, 0), (-1e-38, 1e38), (0.5, LARGEST),
]
CORNERS = [
    0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, 1.17549435e-38, 3e-39, 6, 5.9999995, 6.0000005, -3,
    -3.0000002, 2, LARGEST, -LARGEST, np.inf, -np.inf,
]


def wide(values):
    """Return binary32 numbers as wide ones (`hw.parts.float_units`); infinity has exponent 287."""
    found = []
    for value in np.asarray(values, np.float32):
        sign = int(np.signbit(value)) << 32
        if not np.isfinite(value):
            found.append(sign | 287 << 23)
            continue
        fraction, exponent = np.frexp(abs(float(value)))
        whole = int(fraction * (1 << 24)) & ((1 << 23) - 1)
        found.append(sign | ((int(exponent) - 1 + 159) << 23 | whole if value else 0))
    return found


@cocotb.test()
async def holds(dut):
    cfg = AcceleratorConfig(**bench_params()["config"])
    rng, lanes = np.random.default_rng(5), cfg.requantize_lanes
    await start_clock_and_reset(dut)
    drawn = [tuple(rng.integers(0, 1 << 32, 2, np.uint32).view("<f4")) for _ in range(30)]
    pairs = PAIRS + [p for p in drawn if np.isfinite(p).all()]
    for low, high in pairs:
        octets = np.zeros(cfg.beat_bytes, np.uint8)
        octets[:8] = np.array([low, high], "<f4").view(np.uint8)
        for target, place, octet in (
            (LoadTarget.DYNAMIC, BOUNDS_PLACE, octets), (LoadTarget.REAL, BOUNDS_PLACE, ~octets),
            (LoadTarget.DYNAMIC, 0, ~octets), (LoadTarget.DYNAMIC, BOUNDS_PLACE + 32, ~octets),
        ):
            fields = {"target": target, "address": place, "data": int.from_bytes(octet, "little")}
            dut.write__payload.value = pack(scratchpad_write(cfg), fields)
            dut.write__valid.value = 1
            await FallingEdge(dut.clk)
        dut.write__valid.value = 0
        near = np.array([low, high], np.float32).view(np.int32)[:, None] + [-1, 1]
        values = np.concatenate([
            CORNERS, near.astype(np.int32).view(np.float32).reshape(-1), [low, high],
            rng.integers(0, 1 << 32, 20, np.uint32).view("<f4"),
        ]).astype(np.float32)
        values = rng.permutation(values[~np.isnan(values)])
        values = np.resize(values, -(-len(values) // lanes) * lanes)
        for held in (1, 0):
            dut.bounded.value = held
            await ClockCycles(dut.clk, 3)
            await FallingEdge(dut.clk)
            expected = bounded(values, low, high) if held else values
            found = []
            for first in range(0, len(values) + 2 * lanes, lanes):
                part = wide(np.resize(values[first : first + lanes], lanes)) if (
                    first < len(values)) else [0] * lanes
                dut.v.value = sum(word << 33 * lane for lane, word in enumerate(part))
                await FallingEdge(dut.clk)
                shown = dut.o.value.to_unsigned()
                found += [shown >> 33 * lane & (1 << 33) - 1 for lane in range(lanes)]
            found, wanted = found[lanes : lanes + len(values)], wide(expected)
            for value, got, want in zip(values, found, wanted, strict=True):
                same = got == want or (got | want) == 1 << 32  # a zero has no sign
                assert same, f"{value} in {low} to {high}: {got:#x}, not {want:#x}"


@pytest.mark.parametrize(("lanes", "width"), [(1, 64), (3, 256)])
def test_holds(lanes, width):
    cfg = AcceleratorConfig(
        columns=lanes, requantize_lanes=lanes, axi_data_width=width, dynamic=True,
        real={"bytes": 512, "functions": True},
    )
    run_cocotb(RealBounds(cfg), __name__, params={"config": cfg.to_dict()})
