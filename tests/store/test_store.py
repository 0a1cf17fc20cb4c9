# SPDX-License-Identifier: Apache-2.0
"""STORE through the write master onto a bus: which bytes change, in which order, and how fast."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamWrite, AxiWriteBus

from kiwicha.hw.store.records import record_bytes
from kiwicha.hw.store.store import store_sources
from kiwicha.machine.isa import STORE, Engine, ErrorCode, StoreSource
from kiwicha.machine.presets import preset

from ..parts.bus import PREFIX, WriteSubordinate, pauses
from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, pack
from .store_path import (
    RECORD,
    SIZE,
    StorePath,
    apply,
    instruction,
    random_instruction,
    start,
)

MACHINES = {
    "tiny": preset("tiny"),
    "one burst": preset("tiny").replace(axi_burst_beats=1),
    "default": preset("default").replace(output_bytes=8192),
    "large": preset("large").replace(output_bytes=4096),
    "special": preset("tiny").replace(special={"lanes": 4, "bytes": 1024}),
    "dynamic": preset("tiny").replace(dynamic=True),
    "wide": preset("tiny").replace(
        dynamic=True, axi_data_width=256, statistics={"elements": 256}, output_bytes=256,
    ),
    "statistics": preset("tiny").replace(statistics={"elements": 1 << 20}),
    "forwarding": preset("tiny").replace(forwarding=True),
    "forwarding to lanes": preset("tiny").replace(
        special={"lanes": 4, "bytes": 1024}, forwarding=True,
    ),
}


@cocotb.test(timeout_time=500, timeout_unit="us")
async def moves_segments(dut):
    params = bench_params()
    cfg, seed, pause = MACHINES[params["machine"]], params["seed"], params["pause"]
    chooser = random.Random(seed)
    contents = {source: chooser.randbytes(size) for source, size in store_sources(cfg).items()}
    memory = bytearray(chooser.randbytes(SIZE))
    results = contents.get(StoreSource.RESULT, b"")
    bench = await start(
        dut, cfg, contents[StoreSource.OUTPUT], results, ready=params.get("ready", "always")
    )
    for kind in record_bytes(cfg):
        port = getattr(dut, StoreSource(kind).name.lower())
        port.value = int.from_bytes(contents[kind], "little")
    ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, PREFIX), dut.clk, size=SIZE)
    ram.write(0, bytes(memory))
    if pause:
        for channel in (ram.aw_channel, ram.w_channel, ram.b_channel):
            channel.set_pause_generator(pauses(pause, f"{seed} {type(channel)}"))
    stores = [random_instruction(cfg, chooser) for _ in range(10 if pause > 0.5 else 30)]
    bench.source.put(stores)
    await bench.finish(len(stores))
    writes = []
    for store in stores:
        apply(memory, contents, store, writes, cfg.beat_bytes)
    assert not cfg.forwarding or list(bench.forwarded.words) == writes
    # All of memory: no byte beside a run may have changed.
    assert ram.read(0, SIZE) == bytes(memory)
    assert bench.done == [store["signal"] for store in stores]


@cocotb.test(timeout_time=100, timeout_unit="us")
async def keeps_the_bus_busy(dut):
    params = bench_params()
    cfg = MACHINES[params["machine"]]
    output = random.Random(1).randbytes(cfg.output_bytes)
    memory, expected = bytearray(SIZE), bytearray(SIZE)
    bench = await start(dut, cfg, output)
    WriteSubordinate(dut, memory, beat_bytes=cfg.beat_bytes, latency=20)
    stores = [instruction(cfg, signal=k % 32, **params["fields"]) for k in range(params["count"])]
    bench.source.put(stores)
    await bench.finish(len(stores))
    for store in stores:
        apply(expected, {StoreSource.OUTPUT: output}, store)
    assert memory == expected
    beats = bench.referee.write_beats
    assert beats[-1] - beats[0] + 1 == params["cycles"], len(beats)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def answers_after_the_last_response(dut):
    cfg = MACHINES["tiny"]
    bench = await start(dut, cfg, bytes(cfg.output_bytes))
    WriteSubordinate(dut, bytearray(SIZE), beat_bytes=8, latency=30)
    bench.source.put([instruction(cfg, signal=5, length=100, segments=2, pitch=0x1000)])
    responses = 0
    while not bench.done:
        await RisingEdge(dut.clk)
        if not bench.done:
            responses += int(dut.axi__bvalid.value) and int(dut.axi__bready.value)
    assert responses == len(bench.referee.writes) == 2


@cocotb.test(timeout_time=200, timeout_unit="us")
async def refuses_what_is_illegal(dut):
    cfg = MACHINES[bench_params()["machine"]]
    results = bytes(cfg.special.lanes * cfg.special.bytes)
    bench = await start(dut, cfg, bytes(cfg.output_bytes), results, drive=False)
    WriteSubordinate(dut, bytearray(SIZE), beat_bytes=8)
    fields, ranges = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE
    output = cfg.output_bytes
    two = {"segments": 2, "length": 8, "pitch": 64}
    record = {"source": 1, "length": RECORD}
    cases = [
        (fields, {"source": 5}), (fields, {"source": 15}), (fields, {"format": 1}),
        (fields, {"reserved0": 1}), (fields, {"reserved0": 1 << 5}), (fields, {"extent": 1}),
        (fields, {"extent": 0x8000}), (fields, {"length": 0}),
        (fields, {"segments": 0}), (fields, {"local": 1}), (fields, {"address": 4}),
        (fields, {**two, "pitch": 8, "local_pitch": 12}), (fields, {**two, "pitch": -1}),
        (fields, {**record, "length": RECORD - 1}), (fields, {**record, "length": RECORD * 2}),
        (ranges, {**record, "local": 8}), (ranges, {"local": output}),
        (ranges, {"local": output - 8, "length": 9}), (ranges, {"local": 0xFFFF_FFF8}),
        (ranges, {"length": 0xFFFF_FFFF}), (ranges, {**two, "local_pitch": -8}),
        (ranges, {**two, "local": output - 8, "local_pitch": 8}),
    ]
    if results:
        result = {"source": StoreSource.RESULT}
        cases += [(ranges, {**result, "local": len(results)}),
                  (ranges, {**result, "local": len(results) - 8, "length": 9})]
    else:
        cases.append((fields, {"source": StoreSource.RESULT}))
    if cfg.dynamic:
        slots = {"source": StoreSource.DYNAMIC, "length": 8}
        cases += [(ranges, {**slots, "local": 64}), (ranges, {**slots, "local": 56, "length": 9})]
    else:
        cases.append((fields, {"source": StoreSource.DYNAMIC}))
    if cfg.statistics.elements:
        record = {"source": StoreSource.STATISTICS, "length": 8}
        cases += [(ranges, {**record, "local": 256}),
                  (ranges, {**record, "local": 248, "length": 9})]
    else:
        cases.append((fields, {"source": StoreSource.STATISTICS}))
    if cfg.forwarding:
        on_chip, end = {"destination": 1, "length": 8}, cfg.activation_bytes
        cases += [
            (fields, {**on_chip, "destination": 3}), (fields, {**record, "destination": 1}),
            (ranges, {**on_chip, "address": end}), (ranges, {**on_chip, "address": 1 << 62}),
            (ranges, {**on_chip, "address": end - 8, "length": 9}),
            (ranges, {**on_chip, "destination": 2, "address": len(results)}),
            (ranges, {**two, "destination": 1, "address": 8, "pitch": -16}),
        ]
    else:
        cases += [(fields, {"destination": place}) for place in (1, 2, 3)]
    for code, case in cases:
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        for log in (bench.faults, bench.done, bench.referee.writes):
            log.clear()
        dut.i__payload.value = pack(STORE, instruction(cfg, **case))
        dut.i__valid.value = 1
        await ClockCycles(dut.clk, 2)
        # What follows would be legal; it is not executed any more.
        dut.i__payload.value = pack(STORE, instruction(cfg))
        await ClockCycles(dut.clk, 40)
        assert bench.faults == [(code, Engine.STORE)], case
        # The first of two segments is legal in these cases.
        assert len(bench.referee.writes) <= int(code == ranges and "segments" in case), case
        assert not bench.done, case
        assert not dut.i__ready.value
        assert dut.idle.value
        dut.i__valid.value = 0


@cocotb.test(timeout_time=50, timeout_unit="us")
async def writes_only_granted_memory(dut):
    cfg = MACHINES["tiny"]
    output = random.Random(2).randbytes(cfg.output_bytes)
    bench = await start(dut, cfg, output)
    dut.window_base.value = 0xE00
    dut.window_limit.value = 0x1000
    memory = bytearray(SIZE)
    WriteSubordinate(dut, memory, beat_bytes=8, latency=5)
    bench.source.put([instruction(cfg, address=0xF00, length=64, segments=8, pitch=128)])
    await ClockCycles(dut.clk, 150)
    assert bench.refused == 1
    assert not bench.done
    assert dut.idle.value
    assert all(0xE00 <= a and a + 8 * n <= 0x1000 for _, a, n in bench.referee.writes)
    assert not any(memory[:0xE00])
    assert not any(memory[0x1000:])


@pytest.mark.parametrize(
    ("machine", "pause"),
    [("tiny", 0), ("tiny", 0.5), ("tiny", 0.9), ("one burst", 0), ("default", 0.5),
     ("large", 0.5), ("special", 0), ("special", 0.5), ("dynamic", 0.5), ("wide", 0),
     ("statistics", 0.5)],
)
def test_moves_segments(machine, pause):
    params = {"machine": machine, "pause": pause, "seed": 51}
    run_cocotb(StorePath(MACHINES[machine]), __name__, params=params, testcase="moves_segments")


@pytest.mark.parametrize(
    ("ready", "pause"), list(zip(READY_POLICIES, (0, 0.5, 0, 0.9), strict=True))
)
@pytest.mark.parametrize("machine", ["forwarding", "forwarding to lanes"])
def test_moves_segments_on_chip(machine, ready, pause):
    params = {"machine": machine, "pause": pause, "seed": 52, "ready": ready}
    run_cocotb(StorePath(MACHINES[machine]), __name__, params=params, testcase="moves_segments")


@pytest.mark.parametrize(
    ("machine", "count", "fields", "cycles"),
    [
        # One run: a beat a cycle.
        ("default", 1, {"address": 0x1000, "length": 8192}, 512),
        # The same at an address that is in the middle of a beat and of a burst.
        ("default", 1, {"address": 0x1087, "local": 7, "length": 8000}, 501),
        # Runs of four beats: no gap between segments nor between instructions.
        ("tiny", 4, {"address": 0x100, "length": 32, "segments": 32, "pitch": 256}, 512),
        # Runs of two beats: two cycles a segment are enough, 16 responses outstanding too.
        ("tiny", 1, {"address": 0x100, "length": 16, "segments": 32, "pitch": 256}, 64),
    ],
)
def test_keeps_the_bus_busy(machine, count, fields, cycles):
    params = {"machine": machine, "count": count, "fields": fields, "cycles": cycles}
    run_cocotb(StorePath(MACHINES[machine]), __name__, params=params, testcase="keeps_the_bus_busy")


@pytest.mark.parametrize(
    ("case", "machine"),
    [("answers_after_the_last_response", "tiny"), ("refuses_what_is_illegal", "tiny"),
     ("refuses_what_is_illegal", "special"), ("refuses_what_is_illegal", "dynamic"),
     ("refuses_what_is_illegal", "statistics"),
     ("refuses_what_is_illegal", "forwarding to lanes"), ("writes_only_granted_memory", "tiny")],
)
def test_rules(case, machine):
    params = {"machine": machine}
    run_cocotb(StorePath(MACHINES[machine]), __name__, params=params, testcase=case)
