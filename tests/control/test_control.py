# SPDX-License-Identifier: Apache-2.0
"""All of control against Python engines and a Python memory: programs, faults and recovery."""

import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from hw.config import preset
from hw.control.control import Control
from hw.control.counters import COUNTER_RECORD
from hw.control.fault import FAULT
from hw.control.register_map import RegisterMap
from hw.control.register_views import to_python_module
from hw.isa import ENGINES, INSTRUCTIONS, Engine, ErrorCode, Opcode
from hw.memory.axi import REQUEST
from tests.control.programs import END_WORD, engine_words, random_instruction
from tests.support.bench import bench_params, run_cocotb
from tests.support.streams import (
    READY_POLICIES,
    StreamSink,
    pack,
    start_clock_and_reset,
    unpack,
)

BASE = 0x4000
REGISTERS: dict[str, int] = {}
exec(to_python_module(RegisterMap(preset("tiny"))), REGISTERS)


def ordered_program(chooser, count):
    """Return (engine, bits) pairs whose tokens suffice if executed one after the other."""
    held = [[0] * ENGINES for _ in range(ENGINES)]
    program = []
    for _ in range(count):
        engine = Engine(chooser.randrange(ENGINES))
        there = sum((held[p][engine] > 0) << p for p in range(ENGINES))
        wait = there & chooser.getrandbits(ENGINES)
        signal = sum((held[engine][c] < 4) << c for c in range(ENGINES))
        signal &= chooser.getrandbits(ENGINES)
        for other in range(ENGINES):
            held[other][engine] -= wait >> other & 1
            held[engine][other] += signal >> other & 1
        program.append(random_instruction(chooser, engine, wait=wait, signal=signal))
    return program


class Environment:
    """Memory with the program, engines that take a random time, and a master for the registers."""

    def __init__(self, dut, seed, *, hold=False):
        self.dut = dut
        self.hold = hold  # keep the engines from finishing anything
        self.chooser = random.Random(seed)
        self.seed = seed
        self.words: list[int] = []
        self.beat_bytes = bench_params()["beat_bytes"]
        self.busy = 0
        self.log: list[tuple[str, int, int]] = []
        self.restart()

    async def begin(self):
        await start_clock_and_reset(self.dut)
        dut = self.dut
        dut.masters_idle.value = 1
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil_"), dut.clk, dut.rst)
        self.sinks = []
        for engine in Engine:
            policy = READY_POLICIES[(engine + self.seed) % 4]
            name = engine.name.lower()
            sink = StreamSink(dut, name, None, policy=policy, seed=self.seed)
            self.sinks.append(sink)
            cocotb.start_soon(self.execute(engine, sink))
        self.requests = StreamSink(dut, "request", REQUEST, policy="random", seed=self.seed)
        cocotb.start_soon(self.serve())

    def restart(self):
        """Forget what was issued."""
        self.issued: list[list[int]] = [[] for _ in Engine]
        self.log.clear()

    async def read(self, name):
        answer = await self.master.read(REGISTERS[f"{name}_OFFSET"], 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def write(self, name, value, resp=AxiResp.OKAY):
        offset = REGISTERS[f"{name}_OFFSET"]
        answer = await self.master.write(offset, value.to_bytes(4, "little"))
        assert answer.resp == resp

    async def start(self, words):
        self.words = list(words)
        await self.write("PROGRAM_ADDRESS_LOW", BASE)
        await self.write("PROGRAM_LENGTH", 8 * len(words))
        await self.write("INTERRUPT_ENABLE", 3)
        await self.write("CONTROL", REGISTERS["CONTROL_START_MASK"])

    async def finish(self):
        """Wait for the interrupt, clear it, return (status, error code, error address)."""
        while not self.dut.interrupt.value:
            await RisingEdge(self.dut.clk)
        events = await self.read("INTERRUPT_STATUS")
        status = await self.read("STATUS")
        assert status & 0x1F == {1: 8, 2: 16}[events]
        await self.write("INTERRUPT_STATUS", events)
        assert self.dut.interrupt.value == 0
        address = await self.read("ERROR_ADDRESS_LOW")
        address |= await self.read("ERROR_ADDRESS_HIGH") << 32
        return events, ErrorCode(await self.read("ERROR_CODE")), address

    async def serve(self):
        dut = self.dut
        per_beat = self.beat_bytes // 8
        while True:
            (request,) = await self.requests.receive(1)
            await ClockCycles(dut.clk, 10)
            first = (request["address"] - BASE) // 8
            for beat in range(request["beats"]):
                low = first + beat * per_beat
                parts = (self.words + [0] * per_beat)[low : low + per_beat]
                last = (beat == request["beats"] - 1) << 8 * self.beat_bytes
                await FallingEdge(dut.clk)
                dut.data__valid.value = 1
                dut.data__payload.value = sum(w << 64 * k for k, w in enumerate(parts)) | last
                dut.read_beat.value = 1
                await FallingEdge(dut.clk)
                dut.data__valid.value = 0
                dut.read_beat.value = 0

    async def execute(self, engine, sink):
        dut = self.dut
        while True:
            (bits,) = await sink.receive(1)
            self.issued[engine].append(bits)
            self.log.append(("issue", engine, bits >> 4 & 15))
            await FallingEdge(dut.clk)
            self.set_busy(engine, 1)
            await ClockCycles(dut.clk, self.chooser.randrange(1, 20))
            while self.hold:
                await ClockCycles(dut.clk, 1)
            await FallingEdge(dut.clk)
            getattr(dut, f"done__{engine.value}__payload").value = bits >> 8 & 15
            getattr(dut, f"done__{engine.value}__valid").value = 1
            self.log.append(("done", engine, bits >> 8 & 15))
            await FallingEdge(dut.clk)
            getattr(dut, f"done__{engine.value}__valid").value = 0
            self.set_busy(engine, 0)

    def set_busy(self, engine, value):
        self.busy = self.busy & ~(1 << engine) | value << engine
        self.dut.busy.value = self.busy

    def check(self, program):
        """Every engine got its instructions in order, none before its tokens were there."""
        for engine in Engine:
            assert self.issued[engine] == [bits for e, bits in program if e is engine]
        held = [[0] * ENGINES for _ in range(ENGINES)]
        for what, engine, mask in self.log:
            for other in range(ENGINES):
                if what == "done":
                    held[engine][other] += mask >> other & 1
                else:
                    held[other][engine] -= mask >> other & 1
                    assert held[other][engine] >= 0, "issued before its token"


def program_words(program):
    return [*engine_words(program)[1], END_WORD]


async def run_program(env, seed, count=60):
    program = ordered_program(random.Random(seed), count)
    env.restart()
    await env.start(program_words(program))
    assert await env.finish() == (1, ErrorCode.NONE, 0)
    env.check(program)
    return program


@cocotb.test(timeout_time=1000, timeout_unit="us")
@cocotb.parametrize(seed=[0, 1, 2, 3])
async def runs_programs(dut, seed):
    env = Environment(dut, seed)
    await env.begin()
    for repeat in range(2):
        await run_program(env, 10 * seed + repeat)


@cocotb.test(timeout_time=200, timeout_unit="us")
async def counts(dut):
    env = Environment(dut, 5)
    await env.begin()
    program = ordered_program(random.Random(5), 40)
    await env.start(program_words(program))
    cycles = busy = stalled = 0
    while not dut.interrupt.value:
        await FallingEdge(dut.clk)
        cycles += 1
        busy += env.busy >> Engine.LOAD & 1
    record = unpack(COUNTER_RECORD, dut.record.value.to_unsigned())
    assert cycles - 20 < record["cycles"] <= cycles
    assert await env.read("CYCLES_LOW") == record["cycles"]
    beats = -(-8 * len(program_words(program)) // env.beat_bytes)
    assert await env.read("READ_BEATS") == record["read_beats"] == beats
    assert await env.read("LOAD_BUSY") == record["engines"][0]["busy"]
    assert abs(record["engines"][0]["busy"] - busy) <= 1
    stalled = sum(engine["stalled"] for engine in record["engines"])
    assert 0 < stalled < 4 * cycles
    assert await env.read("VECTOR_STALLED") == record["engines"][2]["stalled"]


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
    cases = {
        "illegal opcode": ([*good[:-1], 15, END_WORD], ErrorCode.ILLEGAL_OPCODE, at_end),
        "end with fields": ([*good[:-1], END_WORD | 16], ErrorCode.ILLEGAL_FIELD, ENGINES),
        "no end": (good[:-1], ErrorCode.PROGRAM_END, at_end),
        "half an instruction": ([*good[:-1], 2], ErrorCode.PROGRAM_END, at_end + 8),
        "empty": ([], ErrorCode.PROGRAM_END, BASE),
        "deadlock": (program_words([forever]), ErrorCode.WATCHDOG, 0),
    }
    await env.write("WATCHDOG", 300)
    for name, (words, code, address) in cases.items():
        await env.start(words)
        assert await env.finish() == (2, code, address), name
        assert dut.stop.value == 1
        await settle(env)
        await run_program(env, 7, 20)
    for source in range(6):
        env.hold = True
        await env.start(program_words(ordered_program(random.Random(3), 30)))
        await ClockCycles(dut.clk, 60)
        await env.write("READ_BASE_LOW", 1, AxiResp.SLVERR)
        await raise_fault(dut, source, ErrorCode.ILLEGAL_FIELD, source)
        await raise_fault(dut, 5 - source, ErrorCode.READ_WINDOW, 99)
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


@pytest.mark.parametrize("name", ["tiny", "default", "large"])
def test_control(name):
    cfg = preset(name)
    params = {name: getattr(cfg, name) for name in ("beat_bytes", "fingerprint", "token_bits")}
    run_cocotb(Control(cfg), __name__, params=params)


def test_payloads_are_the_instructions():
    control = Control(preset("tiny"))
    for engine in Engine:
        layout = INSTRUCTIONS[Opcode[engine.name]]
        payload = getattr(control, engine.name.lower()).payload
        assert isinstance(payload, data.View)
        assert payload.shape() == layout
