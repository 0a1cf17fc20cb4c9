# SPDX-License-Identifier: Apache-2.0
"""Formatted weights from a bus into the scratchpad: every format, among dense loads, and wrong."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.parts.format_rules import machine_formats
from kiwicha.machine.capabilities import WEIGHT_FORMATS
from kiwicha.machine.formats import compressed_formats
from kiwicha.machine.isa import Engine, ErrorCode, LoadTarget, WeightFormat
from kiwicha.machine.presets import preset

from ..parts.bus import ReadSubordinate
from ..sparse.run import fuzzed
from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from .formats import (
    apply,
    compressed,
    decoded,
    dense,
    matrix,
    octets_of,
    random_loads,
    spots,
)
from .load_path import GUARD, SIZE, LoadPath, instruction, serve, start

TINY = preset("tiny").replace(weight_bytes=1024, activation_bytes=1024)
#: 8-byte beats and rows, with every format; narrow and odd tiles; rows wider than a beat.
MACHINES = {
    "all": TINY.replace(
        rows=8, columns=8, transposer=True, sparse={"formats": WEIGHT_FORMATS, "entries": 2},
        interleave={"rows": (3, 5)},
    ),
    "narrow": TINY.replace(
        columns=3, transposer=True, sparse={"formats": ("csc4", "run-length")}, axi_outstanding=1,
    ),
    "wide rows": TINY.replace(
        columns=13, transposer=True, sparse={"formats": ("bitmask", "csr")}, axi_burst_beats=4,
    ),
    "matrices": TINY.replace(columns=5, transposer=True, axi_data_width=128),
    "beside": TINY.replace(rows=20, axi_data_width=128, interleave={"rows": (3, 7, 15)}),
    "compressed": TINY.replace(columns=8, sparse={"formats": ("csc8", "csc4-codebook")}),
}


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def loads_weights(dut):
    params = bench_params()
    cfg, seed, pause = MACHINES[params["machine"]], params["seed"], params["pause"]
    chooser = random.Random(seed)
    loads = random_loads(cfg, chooser, 60)
    memory = bytearray(chooser.randbytes(SIZE))
    for load in loads:
        for at, octets in load.memory.items():
            memory[at : at + len(octets)] = octets
    bench = await start(dut, cfg)
    serve(dut, bytes(memory), pause, seed)
    bench.source.put([load.fields for load in loads])
    image = bytearray([GUARD]) * cfg.weight_bytes
    activations = bytearray([GUARD]) * cfg.activation_bytes
    for number, load in enumerate(loads):
        while len(bench.done) <= number:
            assert not bench.faults
            await RisingEdge(dut.clk)
        # Its bytes were there when it was done: whoever waits for the token finds them.
        apply(cfg, memory, load, image, activations)
        assert bench.activations == activations
        assert bench.done[number][0] == load.fields["signal"]
    await bench.finish(len(loads))
    assert bench.image == image
    assert {load.fields["format"] for load in loads} >= {0, *machine_formats(cfg)}


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def keeps_in_order(dut):
    """Each of two loads of one place is done before the next one begins to write."""
    cfg = MACHINES["all"]
    bench = await start(dut, cfg)
    memory = bytearray(random.Random(5).randbytes(SIZE))
    chooser = random.Random(6)
    loads = []
    for _ in range(12):
        sparse = compressed(cfg, chooser, WeightFormat.CSC4, length=2, columns=2, density=0.5)
        sparse.fields.update(local=0, address=0x4000 + 0x100 * len(loads))
        (octets,) = sparse.memory.values()
        at = sparse.fields["address"]
        memory[at : at + len(octets)] = octets
        whole = dense(cfg, chooser)
        whole.fields.update(local=0, address=0, length=64)
        tile = matrix(cfg, chooser)
        tile.fields.update(
            format=WeightFormat.COLUMNS, local=0, length=24, segments=1, extent=3, address=0x1003
        )
        loads += chooser.sample([sparse, whole, tile], 3)
    serve(dut, bytes(memory), 0, 0)
    bench.source.put([load.fields for load in loads])
    image = bytearray(bench.image)
    for number, load in enumerate(loads):
        apply(cfg, memory, load, image)
        while len(bench.done) <= number:
            await RisingEdge(dut.clk)
        assert bench.image == image, number
    await bench.finish(len(loads))


def first_outside(cfg, fields, count):
    """Return the number of the first byte of a matrix that is outside the scratchpad."""
    rows = cfg.weight_bytes // cfg.weight_pitch
    for number, (row, _) in enumerate(spots(cfg, fields, count)):
        if not 0 <= row < rows:
            return number
    raise AssertionError("all inside")


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def stops_at_the_edge(dut):
    """A matrix that leaves the scratchpad is written up to there, and nothing after it."""
    params = bench_params()
    cfg = MACHINES[params["machine"]]
    chooser = random.Random(params["seed"])
    memory = chooser.randbytes(SIZE)
    bench = await start(dut, cfg)
    serve(dut, memory, params["pause"], 1)
    for _ in range(16):
        fields = matrix(cfg, chooser, inside=False).fields
        octets = octets_of(memory, fields)
        bench.source.put([fields, dense(cfg, chooser).fields])
        while not bench.faults:
            await RisingEdge(dut.clk)
        # All that is asked for comes and goes.
        while not dut.idle.value:
            await RisingEdge(dut.clk)
        await ClockCycles(dut.clk, 60)
        assert bench.faults == [(ErrorCode.SCRATCHPAD_RANGE, Engine.LOAD)], fields
        assert dut.idle.value
        assert not bench.done
        assert not bench.writes
        written = [place for places in bench.places for place in places]
        limit = first_outside(cfg, fields, len(octets))
        assert limit - cfg.beat_bytes < len(written) <= limit
        assert written == list(spots(cfg, fields, len(written)))
        bench.source._queue.clear()
        await bench.reset()


@cocotb.test(timeout_time=8, timeout_unit="ms")
async def refuses_garbage(dut):
    """A wrong stream ends with its error, never with a hang or a row where none belongs."""
    params = bench_params()
    cfg = MACHINES[params["machine"]]
    chooser = random.Random(params["seed"])
    bench = await start(dut, cfg)
    memory = bytearray(SIZE)
    ReadSubordinate(dut, memory, beat_bytes=cfg.beat_bytes, latency=3)
    names = compressed_formats(cfg)
    seen = set()
    for number in range(48):
        load = compressed(cfg, chooser, names[number % len(names)])
        fields, ((at, octets),) = load.fields, load.memory.items()
        columns, rows = fields["pitch"] & 0xFFFF, fields["pitch"] >> 16
        octets = fuzzed(chooser, octets, cfg.beat_bytes)
        if number % 7 == 0:
            fields["local"] = (cfg.weight_bytes // cfg.weight_pitch - 2) * cfg.weight_pitch
        at = fields["address"] = min(at, SIZE - 0x400)
        memory[at : at + len(octets)] = octets
        fields["length"] = len(octets)
        found, error, offset = decoded(cfg, fields["format"], octets, columns, rows)
        space = cfg.weight_bytes - fields["local"]
        expected = bytes(octet for row in found for octet in row)
        outside = len(expected) > space
        bench.source.put([fields])
        while not bench.faults and not bench.done:
            await RisingEdge(dut.clk)
        while not dut.idle.value:
            await RisingEdge(dut.clk)
        await ClockCycles(dut.clk, 40)
        if outside:
            assert bench.faults == [(ErrorCode.SCRATCHPAD_RANGE, Engine.LOAD)]
        elif error:
            assert bench.faults == [(ErrorCode.MALFORMED_STREAM, offset)]
        else:
            assert not bench.faults
        seen.add((outside, bool(error)))
        image = bytearray([GUARD]) * cfg.weight_bytes
        image[fields["local"] : fields["local"] + min(space, len(expected))] = expected[:space]
        assert bench.image == image
        await bench.reset()
    assert {(False, False), (False, True)} <= seen
    assert any(outside for outside, _ in seen)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def refuses_what_is_illegal(dut):
    cfg = MACHINES["compressed"]
    bench = await start(dut, cfg)
    ReadSubordinate(dut, bytes(SIZE), beat_bytes=8)
    with_transposer = bench_params()["transposer"]
    interleave = {"rows": (3,) if with_transposer else ()}
    bench.cfg = cfg = cfg.replace(transposer=with_transposer, interleave=interleave)
    weights = {"target": LoadTarget.WEIGHT}
    csc8 = weights | {"format": WeightFormat.CSC8, "pitch": 0x10001}
    rows = weights | {"format": WeightFormat.ROWS, "extent": 8}
    apart = {"format": WeightFormat.INTERLEAVED, "extent": 3}
    cases = [
        {**csc8, "format": number} for number in range(1, 16) if number not in machine_formats(cfg)
    ]
    cases += [
        {**csc8, "target": 0}, {**csc8, "segments": 2}, {**csc8, "address": 4},
        {**csc8, "length": 12}, {**csc8, "local": 4}, {**csc8, "local_pitch": 8},
        {**csc8, "extent": 1}, {**csc8, "length": 0}, {**csc8, "reserved0": 1},
        {**rows, "target": 0}, {**rows, "extent": 0}, {**rows, "local": 4},
        {**rows, "local_pitch": 4, "segments": 2}, {**rows, "segments": 0},
        {**rows, "format": WeightFormat.COLUMNS, "local": 1}, {**weights, "extent": 1},
        {**apart, "extent": 0}, {**apart, "extent": 5}, {**apart, "extent": 0x103},
        {**apart, "target": LoadTarget.WEIGHT}, {**apart, "length": 0},
        {**weights, "address": 3}, {**csc8, "target": 2}, {**rows, "target": 15},
    ]
    for case in cases:
        bench.source.put([instruction(cfg, **case)])
        await ClockCycles(dut.clk, 30)
        assert bench.faults == [(ErrorCode.ILLEGAL_FIELD, Engine.LOAD)], case
        assert not bench.places + bench.writes + bench.done
        assert not bench.referee.reads
        await bench.reset()


@slow("all-0")
@pytest.mark.parametrize(
    ("machine", "pause"),
    [("all", 0), ("all", 0.6), ("narrow", 0.6), ("wide rows", 0.3), ("matrices", 0.3),
     ("compressed", 0), ("beside", 0), ("beside", 0.4)],
)
def test_loads_weights(machine, pause):
    params = {"machine": machine, "seed": 5, "pause": pause}
    run_cocotb(LoadPath(MACHINES[machine]), __name__, params=params, testcase="loads_weights")


def test_keeps_in_order():
    run_cocotb(LoadPath(MACHINES["all"]), __name__, testcase="keeps_in_order")


@pytest.mark.parametrize(("machine", "pause"), [("all", 0.3), ("narrow", 0)])
def test_stops_at_the_edge(machine, pause):
    params = {"machine": machine, "seed": 8, "pause": pause}
    run_cocotb(LoadPath(MACHINES[machine]), __name__, params=params, testcase="stops_at_the_edge")


@slow("wide rows")
@pytest.mark.parametrize("machine", ["all", "wide rows"])
def test_refuses_garbage(machine):
    params = {"machine": machine, "seed": 9}
    run_cocotb(LoadPath(MACHINES[machine]), __name__, params=params, testcase="refuses_garbage")


@pytest.mark.parametrize("transposer", [False, True])
def test_refuses_what_is_illegal(transposer):
    interleave = {"rows": (3,) if transposer else ()}
    unit = LoadPath(MACHINES["compressed"].replace(transposer=transposer, interleave=interleave))
    params = {"transposer": transposer}
    run_cocotb(unit, __name__, params=params, testcase="refuses_what_is_illegal")
