# SPDX-License-Identifier: Apache-2.0
"""What surrounds control in its test: software, a memory with the program, and engines."""

import random

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from kiwicha.hw.control.register_views import to_python_module
from kiwicha.hw.parts.axi import REQUEST
from kiwicha.machine.isa import ENGINES, INSTRUCTIONS, Engine, ErrorCode, Opcode
from kiwicha.machine.presets import preset
from kiwicha.machine.register_map import RegisterMap

from ..support.bench import bench_params
from ..support.streams import READY_POLICIES, StreamSink, start_clock_and_reset, unpack
from .programs import END_WORD, engine_words, random_instruction, random_mask

__all__ = [
    "BASE", "REGISTERS", "Environment", "engines", "ordered_program", "program_words",
    "run_program",
]

BASE = 0x4000
REGISTERS: dict[str, int] = {}
exec(to_python_module(RegisterMap(preset("tiny"))), REGISTERS)


def engines():
    """Return the engines of the machine under test."""
    return [Engine(number) for number in bench_params()["engines"]]


def ordered_program(chooser, count):
    """Return (engine, bits) pairs whose tokens suffice if executed one after the other."""
    held = [[0] * ENGINES for _ in range(ENGINES)]
    program = []
    for _ in range(count):
        engine = chooser.choice(engines())
        there = sum((held[p][engine] > 0) << p for p in range(ENGINES))
        wait = there & random_mask(chooser, engines())
        signal = sum((held[engine][c] < 4) << c for c in range(ENGINES))
        signal &= random_mask(chooser, engines())
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
        for engine in engines():
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
        layout = INSTRUCTIONS[Opcode[engine.name]]
        while True:
            (bits,) = await sink.receive(1)
            fields = unpack(layout, bits)
            self.issued[engine].append(bits)
            self.log.append(("issue", engine, fields["wait"]))
            await FallingEdge(dut.clk)
            self.set_busy(engine, 1)
            await ClockCycles(dut.clk, self.chooser.randrange(1, 20))
            while self.hold:
                await ClockCycles(dut.clk, 1)
            await FallingEdge(dut.clk)
            getattr(dut, f"done__{engine.value}__payload").value = fields["signal"]
            getattr(dut, f"done__{engine.value}__valid").value = 1
            self.log.append(("done", engine, fields["signal"]))
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
    """Return the words of a program, END after it."""
    return [*engine_words(program)[1], END_WORD]


async def run_program(env, seed, count=60):
    """Run a random program to its end, check it and return it."""
    program = ordered_program(random.Random(seed), count)
    env.restart()
    await env.start(program_words(program))
    assert await env.finish() == (1, ErrorCode.NONE, 0)
    env.check(program)
    return program
