# SPDX-License-Identifier: Apache-2.0
"""All of control against Python engines and a Python memory: programs, faults and recovery."""

import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly
from cocotbext.axi import AxiResp

from kiwicha.hw.control.control import Control
from kiwicha.hw.control.counters import COUNTER_RECORD
from kiwicha.hw.control.engines import machine_engines
from kiwicha.hw.parts.fault import FAULT
from kiwicha.machine.isa import ENGINES, INSTRUCTIONS, Engine, ErrorCode, Opcode
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import pack, unpack
from .environment import (
    BASE,
    REGISTERS,
    Environment,
    engines,
    ordered_program,
    program_words,
    run_program,
)
from .programs import END_WORD, random_instruction

MACHINES = {
    "tiny": preset("tiny"),
    "special": preset("default").replace(special={"lanes": 2}),
    "large": preset("large"),
    "update": preset("tiny").replace(update={"lanes": 1}),
}


@cocotb.test(timeout_time=1000, timeout_unit="us")
@cocotb.parametrize(seed=[0, 1, 2, 3])
async def runs_programs(dut, seed):
    env = Environment(dut, seed)
    await env.begin()
    for repeat in range(2):
        await run_program(env, 10 * seed + repeat)


async def read_record(dut):
    """Read the counters as STORE does, a beat a cycle."""
    width, beats = len(dut.record_data), []
    for cycle in range(COUNTER_RECORD.size // width + 2):
        await FallingEdge(dut.clk)
        dut.record_enable.value = cycle < COUNTER_RECORD.size // width
        dut.record_index.value = cycle % (COUNTER_RECORD.size // width)
        if cycle >= 2:
            beats.append(dut.record_data.value.to_unsigned())
    return unpack(COUNTER_RECORD, sum(beat << width * k for k, beat in enumerate(beats)))


@cocotb.test(timeout_time=200, timeout_unit="us")
async def counts(dut):
    env = Environment(dut, 7)
    await env.begin()
    program = ordered_program(random.Random(7), 60)
    await env.start(program_words(program))
    cycles = busy = stalled = 0
    while not dut.interrupt.value:
        await FallingEdge(dut.clk)
        cycles += 1
        busy += env.busy >> Engine.LOAD & 1
    record = await read_record(dut)
    assert cycles - 20 < record["cycles"] <= cycles
    assert await env.read("CYCLES_LOW") == record["cycles"]
    beats = -(-8 * len(program_words(program)) // env.beat_bytes)
    assert await env.read("READ_BEATS") == record["read_beats"] == beats
    assert await env.read("LOAD_BUSY") == record["engines"][0]["busy"]
    assert abs(record["engines"][0]["busy"] - busy) <= 1
    stalled = sum(engine["stalled"] for engine in record["engines"])
    assert 0 < stalled < len(engines()) * cycles
    assert (record["update_busy"] > 0) == (Engine.UPDATE in engines())
    for engine in Engine:
        if engine is Engine.UPDATE:
            continue
        name, counted = engine.name, record["engines"][engine]
        assert await env.read(f"{name}_BUSY") == counted["busy"]
        assert await env.read(f"{name}_STALLED") == counted["stalled"]
        assert (counted["busy"] > 0) == (engine in engines())


async def raise_fault(dut, source, code, address):
    await FallingEdge(dut.clk)
    getattr(dut, f"fault__{source}__payload").value = pack(
        FAULT, {"code": code.value, "address": address}
    )
    getattr(dut, f"fault__{source}__valid").value = 1
    await FallingEdge(dut.clk)
    getattr(dut, f"fault__{source}__valid").value = 0


@cocotb.test(timeout_time=2000, timeout_unit="us")
async def stops_and_recovers(dut):
    env = Environment(dut, 1)
    await env.begin()
    good = program_words(ordered_program(random.Random(1), 10))
    at_end = BASE + 8 * (len(good) - 1)
    forever = random_instruction(random.Random(2), Engine.VECTOR, wait=1, signal=0)
    # A machine without SPECIAL refuses its instructions, and others that name it.
    special = random_instruction(random.Random(3), Engine.SPECIAL, wait=0, signal=0)
    names = {
        field: random_instruction(
            random.Random(4), Engine.STORE, **{"wait": 0, "signal": 0, field: 1 << Engine.SPECIAL}
        )
        for field in ("wait", "signal")
    }
    refused = {
        "no such engine": ([*good[:-1], *program_words([special])], ErrorCode.ILLEGAL_OPCODE,
                           at_end),
        "waits for none": (program_words([names["wait"]]), ErrorCode.ILLEGAL_FIELD, Engine.STORE),
        "signals none": (program_words([names["signal"]]), ErrorCode.ILLEGAL_FIELD, Engine.STORE),
    }
    cases = {
        "illegal opcode": ([*good[:-1], 15, END_WORD], ErrorCode.ILLEGAL_OPCODE, at_end),
        "end with fields": ([*good[:-1], END_WORD | 16], ErrorCode.ILLEGAL_FIELD, ENGINES),
        "no end": (good[:-1], ErrorCode.PROGRAM_END, at_end),
        "half an instruction": ([*good[:-1], 2], ErrorCode.PROGRAM_END, at_end + 8),
        "empty": ([], ErrorCode.PROGRAM_END, BASE),
        "deadlock": (program_words([forever]), ErrorCode.WATCHDOG, 0),
        **({} if Engine.SPECIAL in engines() else refused),
    }
    await env.write("WATCHDOG", 300)
    for name, (words, code, address) in cases.items():
        await env.start(words)
        assert await env.finish() == (2, code, address), name
        assert dut.stop.value == 1
        await settle(env)
        await run_program(env, 7, 20)
    sources = [*engines(), ENGINES, ENGINES + 1]
    for source in sources:
        env.hold = True
        await env.start(program_words(ordered_program(random.Random(3), 30)))
        await ClockCycles(dut.clk, 60)
        await env.write("READ_BASE_LOW", 1, AxiResp.SLVERR)
        await raise_fault(dut, source, ErrorCode.ILLEGAL_FIELD, source)
        await raise_fault(dut, sources[-1 - sources.index(source)], ErrorCode.READ_WINDOW, 99)
        assert await env.finish() == (2, ErrorCode.ILLEGAL_FIELD, source)
        await settle(env)
        await run_program(env, 8 + source, 20)
    env.hold = True
    await env.start(program_words(ordered_program(random.Random(3), 30)))
    await ClockCycles(dut.clk, 60)
    await env.write("CONTROL", REGISTERS["CONTROL_ABORT_MASK"])
    assert await env.finish() == (2, ErrorCode.ABORTED, 0)
    await settle(env)
    await run_program(env, 9, 20)


async def settle(env):
    """Let the Python engines forget what they hold, as the reset of real ones does."""
    env.hold = False
    await ClockCycles(env.dut.clk, 200)
    assert env.busy == 0


@cocotb.test(timeout_time=200, timeout_unit="us")
async def overflow_stops(dut):
    env = Environment(dut, 1)
    await env.begin()
    chooser = random.Random(4)
    count = 1 << bench_params()["token_bits"]
    program = [random_instruction(chooser, Engine.STORE, wait=0, signal=2) for _ in range(count)]
    await env.start(program_words(program))
    assert await env.finish() == (2, ErrorCode.TOKEN_OVERFLOW, Engine.STORE.value)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def windows_and_identity(dut):
    env = Environment(dut, 1)
    await env.begin()
    assert await env.read("IDENTITY") == 0x4B495749
    assert await env.read("FINGERPRINT") == bench_params()["fingerprint"]
    for number, name in enumerate(("read_base", "read_limit", "write_base", "write_limit")):
        assert getattr(dut, name).value == 0
        await env.write(f"{name.upper()}_LOW", 0x1000 * (number + 1))
        assert getattr(dut, name).value == 0x1000 * (number + 1)


@cocotb.test(timeout_time=50, timeout_unit="us")
async def reset_recovers_from_a_dead_bus(dut):
    env = Environment(dut, 1)
    await env.begin()
    dut.masters_idle.value = 0
    await env.start([0])
    await ClockCycles(dut.clk, 100)
    assert await env.read("STATUS") & 0x1F == 4 + 16
    await FallingEdge(dut.clk)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    await ReadOnly()
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    dut.masters_idle.value = 1
    await ClockCycles(dut.clk, 5)
    assert await env.read("STATUS") & 0x1F == 1
    await run_program(env, 3, 10)


@slow("large")
@pytest.mark.parametrize("cfg", MACHINES.values(), ids=MACHINES)
def test_control(cfg):
    params = {name: getattr(cfg, name) for name in ("beat_bytes", "fingerprint", "token_bits")}
    params["engines"] = list(machine_engines(cfg))
    run_cocotb(Control(cfg), __name__, params=params)


@pytest.mark.parametrize("width", [64, 256])  # the engines' reset takes 9 and 4 cycles
def test_commands(width):
    run_cocotb(Control(preset("tiny").replace(axi_data_width=width)), "tests.control.commands")


@pytest.mark.parametrize("cfg", MACHINES.values(), ids=MACHINES)
def test_ports_are_those_of_the_engines(cfg):
    control = Control(cfg)
    for engine in Engine:
        if engine not in machine_engines(cfg):
            assert not hasattr(control, engine.name.lower())
            continue
        layout = INSTRUCTIONS[Opcode[engine.name]]
        payload = getattr(control, engine.name.lower()).payload
        assert isinstance(payload, data.View)
        assert payload.shape() == layout
