# SPDX-License-Identifier: Apache-2.0
"""The parameter memory: records of every beat width, group size and mode."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.parameter_memory import ParameterMemory
from kiwicha.machine.config import PIPELINE, AcceleratorConfig
from kiwicha.machine.isa import PARAMETER_BYTES, LoadTarget
from kiwicha.machine.records import OFFSET_PLACE, PARAMETER_LAYOUT

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import pack, start_clock_and_reset, unpack

KEPT = {
    "onnx": ("bias", "multiplier"),
    "tflite": ("bias", "multiplier", "shift"),
    "tflite-single": ("bias", "multiplier", "shift"),
    "shift": ("bias", "shift"),
}


SHOWN = {"slope": "slopes", "offset": "offsets"}


def machine(lanes, width, mode, pipeline=PIPELINE, real=()):
    functions = "offset" in real
    more = {"dynamic": True, "real": {"bytes": 512, "functions": functions}} if real else {}
    return AcceleratorConfig(
        columns=max(lanes, 4), requantize_lanes=lanes, axi_data_width=width, requantize_mode=mode,
        parameter_channels=32, pipeline=pipeline, **more,
    )


def record(raw, channel, mode, real):
    """Return what the requantizer sees of a channel, and ``real`` numbers."""
    bits = int.from_bytes(raw[channel * PARAMETER_BYTES :][:9], "little")
    fields = unpack(PARAMETER_LAYOUT, bits)
    kept = {name: value if name in KEPT[mode] else 0 for name, value in fields.items()}
    if real and mode == "shift":  # the weights' scale
        kept["multiplier"] = fields["multiplier"]
    for name, place in (("slope", PARAMETER_BYTES - 4), ("offset", OFFSET_PLACE)):
        if name in real:
            first = channel * PARAMETER_BYTES + place
            kept[name] = int.from_bytes(raw[first : first + 4], "little")
    return kept


@cocotb.test()
async def holds_records(dut):
    params = bench_params()
    mode, lanes, latency = params["mode"], params["lanes"], params["latency"]
    cfg = machine(lanes, params["width"], mode, real=params["real"])
    beat = cfg.beat_bytes
    groups = cfg.parameter_channels // cfg.parameter_lanes
    rng = np.random.default_rng([5, lanes, beat])
    raw = bytearray(rng.bytes(cfg.parameter_channels * PARAMETER_BYTES))
    await start_clock_and_reset(dut)

    def write(index, target=LoadTarget.PARAMETER, valid=1):
        word = int.from_bytes(raw[index * beat :][:beat], "little")
        if target != LoadTarget.PARAMETER or not valid:
            word = int.from_bytes(rng.bytes(beat), "little")
        fields = {"target": target, "address": index * beat, "data": word}
        dut.write__valid.value = valid
        dut.write__payload.value = pack(scratchpad_write(cfg), fields)

    beats = len(raw) // beat
    for index in rng.permutation(beats):
        write(int(index))
        await FallingEdge(dut.clk)
    asked = []
    for cycle in range(600):
        group = int(rng.integers(groups))
        dut.read_group.value = group
        asked.append([
            record(raw, group * cfg.parameter_lanes + k, mode, params["real"])
            for k in range(lanes)
        ])
        # Writes elsewhere, for other memories, and half of none at all.
        index = int(rng.integers(beats))
        kind = rng.integers(4)
        width = max(beat, cfg.parameter_lanes * PARAMETER_BYTES)
        inside = index * beat // width == group * cfg.parameter_lanes * PARAMETER_BYTES // width
        if kind == 0 and not inside:
            raw[index * beat : (index + 1) * beat] = rng.bytes(beat)
            write(index)
        else:
            target = LoadTarget.WEIGHT if rng.random() < 0.5 else LoadTarget.ACTIVATION
            write(index, target if kind < 3 else LoadTarget.PARAMETER, int(kind < 3))
        await FallingEdge(dut.clk)
        if cycle >= latency - 1:
            bits, size = dut.data.value.to_unsigned(), PARAMETER_LAYOUT.size
            seen = [
                unpack(PARAMETER_LAYOUT, bits >> (k * size) & ((1 << size) - 1))
                for k in range(lanes)
            ]
            wanted = asked[cycle - latency + 1]
            for name in params["real"]:
                numbers = getattr(dut, SHOWN[name]).value.to_unsigned()
                for lane, fields in enumerate(seen):
                    fields[name] = numbers >> 32 * lane & 0xFFFFFFFF
            assert seen == wanted, f"cycle {cycle}"


def run(lanes, width, mode, pipeline, latency, real=()):
    unit = ParameterMemory(machine(lanes, width, mode, pipeline, real))
    assert unit.latency == latency
    params = {"lanes": lanes, "width": width, "mode": mode, "latency": latency}
    params["real"] = real
    run_cocotb(unit, __name__, params=params)


@slow(
    "1-tflite-128", "1-tflite-256", "1-onnx-64", "1-onnx-256", "3-tflite-single-64",
    "3-tflite-single-128", "4-shift-64", "4-shift-256", "16-onnx-64",
)
@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("lanes,mode", [
    (1, "tflite"), (1, "onnx"), (3, "tflite-single"), (4, "shift"), (16, "onnx"),
])
def test_records(lanes, width, mode):
    run(lanes, width, mode, PIPELINE, 3)


@pytest.mark.parametrize("lanes,width,mode", [
    (1, 64, "tflite"), (3, 128, "tflite-single"), (1, 256, "onnx"), (16, 64, "shift"),
])
def test_without_registers(lanes, width, mode):
    run(lanes, width, mode, (), 2)


@pytest.mark.parametrize("lanes,width", [(1, 64), (3, 256)])
def test_slopes(lanes, width):
    run(lanes, width, "onnx", PIPELINE, 3, real=("slope",))


@pytest.mark.parametrize("lanes,width,mode", [
    (1, 64, "onnx"), (3, 128, "tflite"), (2, 256, "shift"),
])
def test_offsets(lanes, width, mode):
    """They lie where a shift does, which some modes look at as well."""
    run(lanes, width, mode, PIPELINE, 3, real=("slope", "offset"))
