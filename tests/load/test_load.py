# SPDX-License-Identifier: Apache-2.0
"""LOAD through arbiter and master from a bus: what lands where, in which order, and how fast."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.parts.axi import REQUEST
from kiwicha.hw.parts.pieces import load_targets
from kiwicha.machine.isa import LOAD, Engine, ErrorCode, WeightFormat
from kiwicha.machine.presets import preset

from ..parts.bus import ReadSubordinate
from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import pack
from .formats import compressed
from .load_path import SIZE, LoadPath, instruction, serve, start, writes

MACHINES = {
    "tiny": preset("tiny"),
    "one burst": preset("tiny").replace(axi_outstanding=1, axi_burst_beats=1),
    "default": preset("default"),
    "large": preset("large").replace(activation_bytes=4096, weight_bytes=4096),
    "many": preset("tiny").replace(axi_outstanding=16),
    "special": preset("tiny").replace(special={"lanes": 2, "bytes": 1024, "entries": 256}),
    "dynamic": preset("tiny").replace(dynamic=True),
    "formats": preset("tiny").replace(transposer=True, sparse={"formats": ("csc4",)}),
    "slow": preset("tiny").replace(
        columns=8, weight_bytes=1024, sparse={"formats": ("csc8",), "entries": 1},
    ),
    "fast": preset("tiny").replace(
        columns=16, transposer=True, sparse={"formats": ("csc4", "bitmask"), "entries": 8},
        axi_data_width=128, weight_bytes=8192, axi_outstanding=8,
    ),
}


def random_instruction(cfg, chooser):
    """Return a legal LOAD whose beats lie in the memory and in its target."""
    beat = cfg.beat_bytes
    while True:
        target = chooser.choice(list(load_targets(cfg)))
        size = load_targets(cfg)[target]
        local = chooser.randrange(size)
        segments = chooser.choice((1, 1, 2, chooser.randint(1, 12)))
        length = chooser.choice((1, beat, chooser.randint(1, 3 * beat), chooser.randint(1, 600)))
        pitch = chooser.randint(-500, 900)
        local_pitch = pitch + beat * chooser.randint(-20, 20)
        if segments == 1:
            local_pitch = chooser.randint(-(1 << 31), (1 << 31) - 1)
        address = chooser.randrange(SIZE) // beat * beat + local % beat
        last, last_local = (segments - 1) * pitch, (segments - 1) * local_pitch
        low = min(address, address + last) // beat * beat
        high = max(address, address + last) + length + beat
        low_local = min(local, local + last_local)
        high_local = max(local, local + last_local) + length
        if segments == 1:
            low_local, high_local = local, local + length
        if low >= 0 and high <= SIZE and low_local >= 0 and high_local <= size:
            return instruction(
                cfg, target=target, local=local, address=address, length=length,
                segments=segments, pitch=pitch, local_pitch=local_pitch,
                signal=chooser.randrange(32), wait=chooser.randrange(32), opcode=1,
            )


@cocotb.test(timeout_time=500, timeout_unit="us")
async def moves_segments(dut):
    params = bench_params()
    cfg, seed, pause = MACHINES[params["machine"]], params["seed"], params["pause"]
    chooser = random.Random(seed)
    memory = chooser.randbytes(SIZE)
    bench = await start(dut, cfg)
    serve(dut, memory, pause, seed)
    loads = [random_instruction(cfg, chooser) for _ in range(10 if pause > 0.5 else 30)]
    bench.source.put(loads)
    await bench.finish(len(loads))
    expected, done = [], []
    for load in loads:
        expected += writes(cfg, memory, load)
        done.append((load["signal"], len(expected)))
    assert bench.writes == expected
    # Each mask after the last write of its instruction has been seen.
    assert [mask for mask, *_ in bench.done] == [mask for mask, _ in done]
    assert all(seen >= due for (_, seen, _), (_, due) in zip(bench.done, done, strict=True))


@cocotb.test(timeout_time=100, timeout_unit="us")
async def keeps_the_bus_busy(dut):
    params = bench_params()
    cfg = MACHINES[params["machine"]]
    memory = random.Random(1).randbytes(SIZE)
    bench = await start(dut, cfg)
    ReadSubordinate(dut, memory, beat_bytes=cfg.beat_bytes, latency=20)
    loads = [instruction(cfg, **params["fields"]) for _ in range(params["count"])]
    bench.source.put(loads)
    await bench.finish(len(loads))
    assert bench.writes == [write for load in loads for write in writes(cfg, memory, load)]
    beats = bench.referee.read_beats
    assert beats[-1] - beats[0] + 1 == params["cycles"], len(beats)


@cocotb.test(timeout_time=200, timeout_unit="us")
async def refuses_what_is_illegal(dut):
    cfg = MACHINES["tiny"]
    bench = await start(dut, cfg, drive=False)
    ReadSubordinate(dut, bytes(SIZE), beat_bytes=8)
    fields, ranges = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE
    activation, parameter = cfg.activation_bytes, cfg.parameter_channels * 16
    two = {"segments": 2, "length": 8}
    cases = [
        (fields, {"target": 3}), (fields, {"target": 5}), (fields, {"target": 15}),
        (fields, {"format": 1}), (fields, {"reserved0": 0x80}),
        (fields, {"extent": 1}), (fields, {"length": 0}),
        (fields, {"segments": 0}), (fields, {"local": 1}), (fields, {"address": 4}),
        (fields, {**two, "pitch": 8, "local_pitch": 12}), (fields, {**two, "pitch": -1}),
        (ranges, {"local": activation}), (ranges, {"local": activation - 8, "length": 9}),
        (ranges, {"local": 1 << 31}), (ranges, {"local": 0xFFFF_FFF8}),
        (ranges, {"length": 0xFFFF_FFFF}), (ranges, {"length": activation + 1}),
        (ranges, {"local": 0xFFFF_FFFF, "address": 7, "length": 1}),
        (ranges, {**two, "local_pitch": -8}), (ranges, {**two, "local_pitch": -(1 << 31)}),
        (ranges, {**two, "local_pitch": activation}),
        (ranges, {**two, "local": 8, "local_pitch": (1 << 31) - 8}),
        (ranges, {"target": 2, "local": parameter}), (ranges, {"target": 1, "local": 4096}),
        (ranges, {**two, "local": activation - 8, "local_pitch": 8}),
    ]
    for code, case in cases:
        await bench.reset()
        dut.i__payload.value = pack(LOAD, instruction(cfg, **case))
        dut.i__valid.value = 1
        await ClockCycles(dut.clk, 2)
        # What follows would be legal; it is not executed any more.
        dut.i__payload.value = pack(LOAD, instruction(cfg))
        await ClockCycles(dut.clk, 30)
        assert bench.faults == [(code, Engine.LOAD)], case
        # The first of two segments is legal in these cases.
        assert len(bench.writes) <= int(code == ranges and "segments" in case), case
        assert not bench.done, case
        assert not dut.i__ready.value
        dut.i__valid.value = 0


@cocotb.test(timeout_time=50, timeout_unit="us")
async def reads_only_granted_memory(dut):
    cfg = MACHINES["tiny"]
    bench = await start(dut, cfg)
    dut.window_limit.value = 0x1000
    ReadSubordinate(dut, bytes(SIZE), beat_bytes=8)
    bench.source.put([instruction(cfg, address=0xF00, length=64, segments=8, pitch=128)])
    refused = 0
    for _ in range(100):
        await RisingEdge(dut.clk)
        refused += int(dut.refused.value)
    assert refused == 1
    assert all(address + 8 * beats <= 0x1000 for _, address, beats in bench.referee.reads)
    assert not bench.done


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def lets_the_bus_drain(dut):
    """Fetch waits for a slow decoder, but not for ever; after a stop or a fault nothing waits."""
    cfg = MACHINES["slow"]
    bench = await start(dut, cfg)
    # Four entries a beat, a cycle for each of them, and up to 64 beats asked for.
    rows = cfg.weight_bytes // 8
    octets = bytes([0, rows * 8 >> 8, *[0] * 6]) + bytes([0, 1]) * rows * 8
    memory = bytearray(octets.ljust(SIZE, b"\0"))
    ReadSubordinate(dut, memory, beat_bytes=8, latency=2)
    fields = {"target": 1, "format": WeightFormat.CSC8, "length": len(octets)}
    load = instruction(cfg, **fields, pitch=rows << 16 | 1)
    dut.fetch_request__payload.value = pack(REQUEST, {"address": 0x8000, "beats": 1})
    waits = {}
    for what in ("running", "stopped", "failed"):
        memory[300] = 255 if what == "failed" else 0
        bench.source.put([load])
        while len(bench.places) < 16:
            await RisingEdge(dut.clk)
        while what == "failed" and not bench.faults:
            await RisingEdge(dut.clk)
        dut.stop.value = int(what == "stopped")
        dut.fetch_request__valid.value = int(what != "stopped")
        waits[what] = 0
        while not (dut.idle.value if what == "stopped" else dut.fetch__valid.value):
            await RisingEdge(dut.clk)
            if dut.fetch_request__ready.value:
                dut.fetch_request__valid.value = 0
            waits[what] += 1
        if what == "running":
            await bench.finish(1)
            assert bench.image == bytes([1]) * cfg.weight_bytes
        else:
            before = len(bench.places)
            await ClockCycles(dut.clk, 100)
            assert len(bench.places) <= before
            assert not bench.done
        await bench.reset()
    # Bursts on the bus and in front of it, 16 beats of four entries each.
    assert 200 < waits["running"] <= (cfg.axi_outstanding + 4) * 16 * 4, waits
    assert waits["stopped"] < 100, waits
    assert waits["failed"] < 100, waits


MATRIX = {"target": 1, "length": 4096, "address": 0x1000, "local_pitch": 1024}

#: Instructions, how many of them, and the cycles from the first to the last of 256 writes.
FAST_MATRICES = [
    # A weight row a cycle, tiles side by side or not, at any address.
    (MATRIX | {"format": WeightFormat.ROWS, "extent": 16}, 1, 256),
    (MATRIX | {"format": WeightFormat.ROWS, "extent": 64}, 1, 256),
    (MATRIX | {"format": WeightFormat.ROWS, "extent": 64, "address": 0x1007}, 1, 256),
    # A beat a cycle down the columns.
    (MATRIX | {"format": WeightFormat.COLUMNS, "extent": 64}, 1, 256),
    (MATRIX | {"format": WeightFormat.COLUMNS, "extent": 16, "local_pitch": 256}, 1, 256),
    # Six cycles from the last write of an instruction to the first of the next one.
    (MATRIX | {"format": WeightFormat.COLUMNS, "extent": 64, "length": 1024}, 4, 256 + 3 * 6),
]
#: Format, density, cycles: a row a cycle up to a quarter of the values.
FAST_STREAMS = [
    (WeightFormat.BITMASK, 0.25, 256), (WeightFormat.CSC4, 0.25, 270),
    (WeightFormat.CSC4, 0.05, 256), (WeightFormat.CSC4, 0, 256),
]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def is_fast(dut):
    cfg = MACHINES["fast"]
    bench = await start(dut, cfg)
    memory = bytearray(random.Random(3).randbytes(SIZE))
    ReadSubordinate(dut, memory, beat_bytes=16, latency=20)
    cases = [(instruction(cfg, **fields), *rest) for fields, *rest in FAST_MATRICES]
    for name, density, cycles in FAST_STREAMS:
        load = compressed(cfg, random.Random(4), name, density=density, length=32, columns=8)
        ((_, octets),) = load.memory.items()
        load.fields["address"] = 0x4000 + 0x1000 * len(cases)
        memory[load.fields["address"] : load.fields["address"] + len(octets)] = octets
        cases.append((load.fields, 1, cycles))
    for fields, count, cycles in cases:
        bench.source.sent = 0
        bench.source.put([fields] * count)
        await bench.finish(count)
        assert len(bench.cycles) == 256
        spent = bench.cycles[-1] - bench.cycles[0] + 1
        cocotb.log.info("%s: 256 writes in %d cycles", fields, spent)
        assert spent <= cycles, fields
        bench.clear()


@slow("tiny-0.5", "large-0.5", "many-0")
@pytest.mark.parametrize(
    ("machine", "pause"),
    [("tiny", 0), ("tiny", 0.5), ("tiny", 0.9), ("one burst", 0), ("default", 0.5),
     ("large", 0.5), ("many", 0), ("special", 0.5), ("formats", 0.5), ("dynamic", 0)],
)
def test_moves_segments(machine, pause):
    params = {"machine": machine, "pause": pause, "seed": 41}
    run_cocotb(LoadPath(MACHINES[machine]), __name__, params=params, testcase="moves_segments")


@slow("default-1-fields1-1024")
@pytest.mark.parametrize(
    ("machine", "count", "fields", "cycles"),
    [
        # One run: a beat a cycle.
        ("default", 1, {"address": 0x1000, "length": 16384}, 1024),
        # The same at an address that is in the middle of a burst.
        ("default", 1, {"address": 0x1080, "length": 16384}, 1024),
        # Runs of a burst: a beat a cycle across segments and instructions.
        ("tiny", 8, {"length": 128, "segments": 8, "pitch": 256, "local_pitch": 128}, 1024),
        # Short runs with enough bursts in flight: two cycles a segment are enough.
        ("many", 4, {"length": 16, "segments": 32, "pitch": 64, "local_pitch": 16}, 256),
    ],
)
def test_keeps_the_bus_busy(machine, count, fields, cycles):
    params = {"machine": machine, "count": count, "fields": fields, "cycles": cycles}
    run_cocotb(LoadPath(MACHINES[machine]), __name__, params=params, testcase="keeps_the_bus_busy")


def test_refuses_what_is_illegal():
    unit = LoadPath(MACHINES["tiny"])
    run_cocotb(unit, __name__, testcase="refuses_what_is_illegal")


def test_reads_only_granted_memory():
    unit = LoadPath(MACHINES["tiny"])
    run_cocotb(unit, __name__, testcase="reads_only_granted_memory")


def test_lets_the_bus_drain():
    run_cocotb(LoadPath(MACHINES["slow"]), __name__, testcase="lets_the_bus_drain")


def test_is_fast():
    run_cocotb(LoadPath(MACHINES["fast"]), __name__, testcase="is_fast")
