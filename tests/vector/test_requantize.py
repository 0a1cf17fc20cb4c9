# SPDX-License-Identifier: Apache-2.0
"""The requantizer lanes against the golden model, in every mode and multiplier width."""

import random

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from cocotb.triggers import RisingEdge

from kiwicha.golden.requantize import requantize, requantize_onnx_integer, requantize_shift
from kiwicha.hw.parts.requantize_common import REQUANTIZE_INPUT, REQUANTIZE_OUTPUT
from kiwicha.hw.parts.requantize_fixed import FixedRequantize
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply
from kiwicha.hw.vector.requantize import RequantizeLane
from kiwicha.machine.modes import CellFamily, RequantizeMode
from kiwicha.machine.scales import ONCE

from ..support.bench import bench_params, run_cocotb
from ..support.streams import start_clock_and_reset
from .requantize_cases import (
    fixed_point_cases,
    float_cases,
    power_grid,
    random_int32,
    sticky_cases,
)

LANES = [
    (mode, *product)
    for mode in ("onnx", "tflite", "tflite-single")
    for product in (
        (0, "generic", True), (18, "generic", True), (9, "generic", False), (18, "ecp5", True),
        (0, "generic", False),
    )
]
LANES += [("shift", 0, "generic", registered) for registered in (True, False)]

#: Output types and fused clips: (low, high).
BOUNDS = [(-128, 127), (0, 255), (-256, 255), (-3, 90), (17, 17)]


def lane_of(variant):
    mode, width, target, registered = variant
    return RequantizeLane(RequantizeMode(mode), width, CellFamily(target), registered)


class Bank(wiring.Component):
    """All lanes side by side, not connected: one simulation serves them all.

    Members
    -------
    i0, i1 ... : In(stream of REQUANTIZE_INPUT); o0, o1 ... : Out(stream of REQUANTIZE_OUTPUT),
        in the order of ``LANES``.
    """

    def __init__(self):
        taken = stream.Signature(REQUANTIZE_INPUT, always_ready=True)
        given = stream.Signature(REQUANTIZE_OUTPUT, always_ready=True)
        ports = {f"i{k}": In(taken) for k in range(len(LANES))}
        super().__init__(ports | {f"o{k}": Out(given) for k in range(len(LANES))})

    def elaborate(self, platform):
        m = Module()
        for k, lane in enumerate(map(lane_of, LANES)):
            m.submodules[f"lane{k}"] = lane
            wiring.connect(m, wiring.flipped(getattr(self, f"i{k}")), lane.i)
            wiring.connect(m, lane.o, wiring.flipped(getattr(self, f"o{k}")))
        return m


def wrap(value):
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def operands(mode, seed, count):
    """Return random operands over the mode's whole domain: a column per field of the payload."""
    rng = np.random.default_rng(seed)
    shift = np.zeros(count, np.int64)
    if mode == "onnx":
        total, multiplier = float_cases(rng, count)
    elif mode == "shift":
        total, multiplier = random_int32(rng, count), rng.integers(0, 1 << 32, count)
        shift = rng.integers(0, 32, count)
    else:
        total, multiplier, shift = fixed_point_cases(rng, count)
        if mode == "tflite":
            multiplier = multiplier | ONCE * (rng.random(count) < 0.4)
    bias = np.where(rng.random(count) < 0.2, 0, rng.integers(-(1 << 31), 1 << 31, count))
    low, high = np.sort(rng.integers(-256, 256, (2, count)), axis=0)
    common = np.array(BOUNDS)[rng.integers(0, len(BOUNDS), count)].T
    low, high = np.where(rng.random(count) < 0.6, common, (low, high))
    zero_point = rng.integers(low, high + 1)
    zero_point = np.where(rng.random(count) < 0.3, rng.integers(-256, 256, count), zero_point)
    # Half of these sums wrap.
    return [wrap(total - bias), bias, multiplier, shift, zero_point, low, high]


def directed(mode):
    """Return operands chosen bit by bit, as ``operands`` does."""
    total, multiplier, shift = power_grid(mode)
    zero_point = np.zeros_like(total)
    if mode == "onnx":
        extra = sticky_cases()
        total, multiplier = np.append(total, extra[0]), np.append(multiplier, extra[1])
        zero_point = np.append(zero_point, extra[2])
        shift = np.zeros_like(total)
    low = np.where(zero_point == 0, -256, 0)
    return [total, np.zeros_like(total), multiplier, shift, zero_point, low, np.full_like(low, 255)]


def golden(mode, columns):
    acc, bias, *parameters = columns
    return requantize(acc, *parameters, mode, bias=bias)


def outside(mode, seed, count):
    """Return operands that a mode does not promise to handle, and what the docstrings promise."""
    rng = np.random.default_rng(seed)
    total, low, high = random_int32(rng, count), np.full(count, -128), np.full(count, 127)
    zero_point, shift = rng.integers(-128, 128, count), np.zeros(count, np.int64)
    multiplier = rng.integers(0, 1 << 32, count)
    ignored = rng.integers(-128, 128, count)
    if mode == "onnx":
        exponent = rng.choice([0, 0xFF, 127, 1, 254], count)
        multiplier = (rng.integers(0, 2, count) << 31) | (exponent << 23) | (multiplier & 0x7FFFFF)
        multiplier = np.where(rng.random(count) < 0.3, multiplier & ~0x7FFFFF, multiplier)
        total = np.where(rng.random(count) < 0.2, 0, total)
        shift = ignored
        expected = requantize_onnx_integer(total, multiplier, zero_point, low, high)
    elif mode == "shift":
        shift = ignored
        expected = requantize_shift(total, shift & 31, zero_point, low, high)
    else:
        small, places = multiplier & 0x3FFFFFFF, rng.integers(-31, 1, count)
        product = total * small
        top = rng.integers(0, 2, count)
        value = (product + (np.int64(1) << (30 - places))) >> (31 - places)
        if mode == "tflite":
            twice = (product + (1 << 30)) >> 31
            half = (np.int64(1) << -places) >> 1
            twice = (twice + half - ((twice < 0) & (places < 0))) >> -places
            value = np.where(top, value, twice)
        expected = np.clip(value + zero_point, low, high)
        multiplier = small | top << 31
        shift = (places & 63) | (ignored & 0xC0)
    return [total, np.int64(0), multiplier, shift, zero_point, low, high], expected


def payloads(columns):
    """Pack operands into raw payloads, many at once."""
    columns = np.broadcast_arrays(*columns)
    packed = [0] * columns[0].size
    for column, (_, field) in zip(columns, REQUANTIZE_INPUT, strict=True):
        raw = (column.ravel() & ((1 << field.width) - 1)).tolist()
        packed = [word | bits << field.offset for word, bits in zip(packed, raw, strict=True)]
    return packed


@cocotb.test()
async def long_run(dut):
    """A result every cycle, exactly ``latency`` cycles after its operands; gaps at the start."""
    count, domain = bench_params()["count"], bench_params()["domain"]
    await start_clock_and_reset(dut)
    lanes = []
    for k, (mode, *variant) in enumerate(LANES):
        if domain == "inside":
            pairs = zip(directed(mode), operands(mode, [21, k], count), strict=True)
            columns = [np.append(*pair)[:count] for pair in pairs]
            expected = golden(mode, columns)
        else:
            columns, expected = outside(mode, [23, k], count)
        lanes.append((f"{mode} {variant}", payloads(columns), expected, []))
    inputs = [getattr(dut, f"i{k}__payload") for k in range(len(LANES))]
    outputs = [getattr(dut, f"o{k}__payload") for k in range(len(LANES))]
    valids = [getattr(dut, f"o{k}__valid") for k in range(len(LANES))]
    latencies = [lane_of(variant).latency for variant in LANES]
    offers = [getattr(dut, f"i{k}__valid") for k in range(len(LANES))]
    # Nothing is offered before the first cycle and in some of the next hundred.
    offered = [cycle > 100 or cycle % 3 != 1 for cycle in range(count)]
    for cycle in range(count):
        if cycle <= 102:
            for offer in offers:
                offer.value = int(offered[cycle])
        for signal, (_, sent, _, _) in zip(inputs, lanes, strict=True):
            signal.value = sent[cycle]
        await RisingEdge(dut.clk)
        if cycle <= 200:
            seen = [bool(valid.value) for valid in valids]
            due = [cycle >= latency and offered[cycle - latency] for latency in latencies]
            assert seen == due, f"valid in cycle {cycle}"
        for signal, latency, (_, _, _, got) in zip(outputs, latencies, lanes, strict=True):
            if cycle >= latency:
                got.append(signal.value.to_signed())
    for name, _, expected, got in lanes:
        wrong = np.flatnonzero(np.array(got) != expected[: len(got)])
        assert wrong.size == 0, f"{name}: {wrong.size} of {len(got)} wrong, first {wrong[:5]}"


@pytest.mark.parametrize("domain,count", [("inside", 25_000), ("outside", 2_000)])
def test_every_cycle(domain, count):
    params = {"count": count, "domain": domain}
    run_cocotb(Bank(), __name__, params=params, testcase="long_run", simulator="verilator")


@pytest.mark.parametrize("width", [0, 4, 7, 16, 17, 25, 32])
@pytest.mark.parametrize("sizes", [(25, 24), (32, 31), (9, 40)])
def test_multiplier_is_exact(sizes, width):
    unit = PipelinedMultiply(*sizes, width)
    chooser = random.Random(24)
    a_top, b_top = 1 << (sizes[0] - 1), (1 << sizes[1]) - 1
    pairs = [(a, b) for a in (-a_top, -1, 0, 1, a_top - 1) for b in (0, 1, b_top - 1, b_top)]
    pairs += [(chooser.randrange(-a_top, a_top), chooser.randint(0, b_top)) for _ in range(40)]
    products = []

    async def bench(ctx):
        for k in range(len(pairs) + unit.latency):
            a, b = pairs[min(k, len(pairs) - 1)]
            ctx.set(unit.a, a)
            ctx.set(unit.b, b)
            if k >= unit.latency:
                products.append(ctx.get(unit.o))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert products == [a * b for a, b in pairs]


@pytest.mark.parametrize(("mode", "latencies"), [
    ("onnx", (12, 9)), ("tflite", (7, 6)), ("tflite-single", (7, 6)), ("shift", (5, 4)),
])
def test_latencies(mode, latencies):
    lanes = (lane_of((mode, 0, "generic", registered)) for registered in (True, False))
    assert tuple(lane.latency for lane in lanes) == latencies


def test_illegal_parameters():
    with pytest.raises(ValueError, match=r"^multiplier_width is 3; legal: 0 or 4 to 32$"):
        PipelinedMultiply(8, 8, 3)
    with pytest.raises(ValueError, match=r"^mode is 'onnx'; legal: 'tflite', 'tflite-single'$"):
        FixedRequantize(RequantizeMode.ONNX, 0, CellFamily.GENERIC, True)
