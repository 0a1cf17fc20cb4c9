# SPDX-License-Identifier: Apache-2.0
"""A VECTOR engine on the bench: accumulators, parameters and tables, and what it answers."""

from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from kiwicha.golden.vector import VectorState
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import BOUNDS_PLACE, VECTOR, LoadTarget
from kiwicha.machine.latency import accumulator_latency

from ..support.bench import bench_params
from ..support.streams import StreamSource, pack, start_clock_and_reset
from .vector_model import operand_state, parameters, sum_state

__all__ = ["Bench", "begin"]

LIMIT = 30000
"""Cycles after which something hangs."""


class Bench:
    """An engine with accumulators and parameters to work on, and a record of what it says."""

    def __init__(self, dut, cfg, seed):
        self.dut, self.cfg, self.latency = dut, cfg, accumulator_latency(cfg)
        rng = np.random.default_rng(seed)
        self.records, self.accumulators, self.raw = parameters(cfg, rng, cfg.accumulator_depth)
        self.rng = rng
        self.state = VectorState()
        self.state.slots["scale"] = rng.uniform(0.5, 1.5, 4)
        self.state.slots["zero_point"] = [0, 120, 255, rng.integers(256)]
        if cfg.training:
            self.state.slots["zero_point"][[0, 3]] = 9, rng.integers(34)
        if cfg.blocks.random:
            self.state.seed, self.state.step = 2**32 - 5, 77
            dut.random.value = self.state.seed | self.state.step << 32
        self.cycle = 0
        self.taken, self.done, self.errors, self.idle = [], [], [], []
        self.source = StreamSource(dut, "i", VECTOR, policy=bench_params().get("offer", "always"))
        cocotb.start_soon(self._accumulators())
        cocotb.start_soon(self._watch())

    async def _accumulators(self):
        weights = [1 << 32 * column for column in range(self.cfg.columns)]
        rows = [
            sum((int(v) & 0xFFFFFFFF) * w for v, w in zip(row, weights, strict=True))
            for row in self.accumulators
        ]
        pipe = deque([0] * (self.latency - 1))
        while True:
            await RisingEdge(self.dut.clk)
            entry = self.dut.read_entry.value
            pipe.append(rows[entry.to_unsigned()] if entry.is_resolvable else 0)
            self.dut.read_data.value = pipe.popleft()

    async def _watch(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if dut.i__valid.value and dut.i__ready.value:
                self.taken.append(self.cycle)
            if dut.done__valid.value:
                self.done.append((self.cycle, dut.done__payload.value.to_unsigned()))
            if dut.error__valid.value:
                self.errors.append(dut.error__payload.value.to_unsigned())
            # An instruction counts from the cycle after its transfer to the cycle of its answer.
            pending = len([c for c in self.taken if c < self.cycle]) - len(
                [c for c, _ in self.done if c < self.cycle]
            )
            assert bool(dut.busy.value) == (pending > 0), f"busy wrong in cycle {self.cycle}"
            self.cycle += 1

    async def load(self):
        """Write all parameters, and beats for the other memories that must not arrive here."""
        dut, layout = self.dut, scratchpad_write(self.cfg)
        beat = self.cfg.beat_bytes
        order = self.rng.permutation(len(self.raw) // beat)
        for index in order:
            word = int.from_bytes(self.raw[index * beat :][:beat].tobytes(), "little")
            for target, data in ((LoadTarget.PARAMETER, word), (LoadTarget.WEIGHT, ~word)):
                mask = (1 << 8 * beat) - 1
                fields = {"target": target, "address": int(index) * beat, "data": data & mask}
                dut.write__valid.value = 1
                dut.write__payload.value = pack(layout, fields)
                await FallingEdge(dut.clk)
        dut.write__valid.value = 0
        if self.cfg.slots:
            await self.load_slots()
        if self.cfg.functions:
            tables = self.state.functions[: self.cfg.functions.tables]
            tables[:] = self.rng.integers(0, 256, tables.shape)
            await self.write(LoadTarget.FUNCTION, tables.tobytes())

        if self.cfg.residual:
            sum_state(self.cfg, self.rng, self.state)
            await self.write(LoadTarget.ADDEND, self.state.addends.tobytes())
            await self.write(LoadTarget.SUMS, self.state.sums.tobytes())
        if self.cfg.real:
            operand_state(self.cfg, self.rng, self.state)
            await self.write(LoadTarget.REAL, self.state.operands.tobytes())
        if self.cfg.real.functions:
            await self.write(LoadTarget.DYNAMIC, self.state.bounds.tobytes(), BOUNDS_PLACE)

    async def load_slots(self):
        """Write the slots of dynamic quantization."""
        await self.write(LoadTarget.DYNAMIC, self.state.slots.tobytes())

    async def write(self, target, octets, start=0):
        """Write all of a memory, or from byte ``start`` of it on."""
        dut, beat = self.dut, self.cfg.beat_bytes
        for address in range(0, len(octets), beat):
            word = int.from_bytes(octets[address : address + beat], "little")
            fields = {"target": target, "address": start + address, "data": word}
            dut.write__valid.value = 1
            dut.write__payload.value = pack(scratchpad_write(self.cfg), fields)
            await FallingEdge(dut.clk)
        dut.write__valid.value = 0

    async def output(self):
        """Read the whole output buffer, a beat a cycle; a byte that is unknown comes as -1."""
        dut, beat = self.dut, self.cfg.beat_bytes
        data = []
        dut.output_enable.value = 1
        for address in range(0, self.cfg.output_bytes + 2 * beat, beat):
            dut.output_address.value = address
            await RisingEdge(dut.clk)
            if address >= 2 * beat:
                word = str(dut.output_data.value)
                for high in range(8 * beat, 0, -8):
                    bits = word[high - 8 : high]
                    data.append(int(bits, 2) if set(bits) <= {"0", "1"} else -1)
        dut.output_enable.value = 0
        await FallingEdge(dut.clk)
        return np.array(data)

    async def finish(self, count):
        await ClockCycles(self.dut.clk, 1)
        while len(self.done) < count and not self.errors:
            await ClockCycles(self.dut.clk, 1)
            assert self.cycle < LIMIT, f"{len(self.taken)} taken, {len(self.done)} done"


async def begin(dut):
    """Return the bench of the machine that the test asks for, its memories written."""
    params = bench_params()
    cfg = AcceleratorConfig(**params["config"])
    await start_clock_and_reset(dut)
    bench = Bench(dut, cfg, params["seed"])
    await bench.load()
    return bench
