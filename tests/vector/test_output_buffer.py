# SPDX-License-Identifier: Apache-2.0
"""The output buffer: any bytes at any address, and nothing beside them."""

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In
from cocotb.triggers import FallingEdge

from kiwicha.hw.vector.output_buffer import OutputBuffer, output_write
from kiwicha.machine.config import PIPELINE, AcceleratorConfig

from ..support.bench import bench_params, run_cocotb
from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from ..support.slow import slow
from ..support.streams import pack, start_clock_and_reset

DEPTHS = pytest.mark.parametrize("pipeline", [PIPELINE, ()], ids=["deep", "short"])


def machine(lanes, width, size=256, pipeline=PIPELINE):
    columns = max(lanes, 4)
    return AcceleratorConfig(
        columns=columns, requantize_lanes=lanes, axi_data_width=width, output_bytes=size,
        parameter_channels=256, pipeline=pipeline,
    )


@cocotb.test()
async def holds_bytes(dut):
    """Random writes and reads in every cycle; a read two cycles behind a write sees it."""
    params = bench_params()
    cfg = machine(params["lanes"], params["width"])
    beat, size, lanes = cfg.beat_bytes, cfg.output_bytes, cfg.requantize_lanes
    rng = np.random.default_rng([9, lanes, beat])
    await start_clock_and_reset(dut)
    held = rng.integers(0, 256, size, np.uint8)
    for start in range(size - lanes + 1):
        word = {"address": start, "live": lanes - 1, "data": held[start : start + lanes].tolist()}
        dut.write__valid.value = 1
        dut.write__payload.value = pack(output_write(cfg), word)
        await FallingEdge(dut.clk)
    dut.write__valid.value = 0
    await FallingEdge(dut.clk)
    reads, unsure = [], {}
    for cycle in range(2500):
        # Written in the last two cycles: a read may see it or not, so it is not asked for.
        unsure = {byte: since for byte, since in unsure.items() if cycle - since < 2}
        beats = [a for a in range(0, size, beat) if not unsure.keys() & set(range(a, a + beat))]
        address = int(rng.choice(beats))
        reading = bool(rng.random() < 0.9)
        dut.read_enable.value = int(reading)
        dut.read_address.value = address | (int(rng.integers(1 << 8)) << 16)
        reads.append(held[address : address + beat].copy() if reading else None)
        live = int(rng.integers(lanes))
        start = int(rng.integers(size - live))
        data = rng.integers(0, 256, lanes)
        writing = bool(rng.random() < 0.7)
        word = {"address": start, "live": live, "data": data.tolist()}
        dut.write__valid.value = int(writing)
        dut.write__payload.value = pack(output_write(cfg), word)
        if writing:
            held[start : start + live + 1] = data[: live + 1]
            unsure |= dict.fromkeys(range(start, start + live + 1), cycle)
        await FallingEdge(dut.clk)
        if cycle >= 1 and reads[cycle - 1] is not None:
            seen = dut.read_data.value.to_unsigned().to_bytes(beat, "little")
            assert seen == reads[cycle - 1].tobytes(), f"cycle {cycle}"


@slow("64-128-pipeline6", "3-128-pipeline2", "16-64-pipeline4", "1-256-pipeline7")
@pytest.mark.parametrize("lanes,width,pipeline", [
    (1, 64, PIPELINE), (2, 64, PIPELINE), (3, 128, PIPELINE), (8, 64, PIPELINE),
    (16, 64, PIPELINE), (13, 256, PIPELINE), (64, 128, PIPELINE), (1, 256, PIPELINE),
    (2, 64, ()), (13, 256, ()), (16, 64, ()),
])
def test_bytes(lanes, width, pipeline):
    unit = OutputBuffer(machine(lanes, width, pipeline=pipeline))
    assert (unit.write_latency, unit.read_latency) == (2, 2)
    run_cocotb(unit, __name__, params={"lanes": lanes, "width": width})


class ByteSpec(wiring.Component):
    """One byte, any one: reads show what was last written there, whatever else is written."""

    write: In(stream.Signature(output_write(machine(3, 64)), always_ready=True))
    watched: In(8)
    beat: In(5)

    def __init__(self, unit: OutputBuffer) -> None:
        self.unit = unit
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.unit
        m.submodules.first = first = FirstCycle()
        wiring.connect(m, dut.write, wiring.flipped(self.write))
        place, asked = Signal(8, reset_less=True), self.write.payload
        m.d.sync += place.eq(self.watched)
        with m.If(first.started):
            m.d.comb += Assume(self.watched == place)
        m.d.comb += [
            Assume(asked.live < 3),
            Assume(asked.address + asked.live < 256),
            dut.read_enable.eq(1),
            dut.read_address.eq(self.beat << 3),
        ]
        offset = (self.watched - asked.address)[:8]
        hit = self.write.valid & first.started & (offset <= asked.live)
        held, stages = Signal(8), [Signal(8, name=f"held_{k}") for k in range(2)]
        hits = Signal(3)
        with m.If(hit):
            m.d.sync += [held.eq(asked.data[offset[:2]]), hits.eq(hits + 1)]
        # A read sees what had been written two cycles before it.
        m.d.sync += [stages[0].eq(held), stages[1].eq(stages[0])]
        read = [Signal(5, name=f"beat_{k}") for k in range(2)]
        age = Signal(range(6))
        m.d.sync += [read[0].eq(self.beat), read[1].eq(read[0]), age.eq(age + (age != 5))]
        recent = Signal(4)
        m.d.sync += recent.eq((recent << 1) | hit)
        looked = first.started & (age > 2) & (read[1] == self.watched[3:])
        seen = dut.read_data.word_select(self.watched[:3], 8)
        # Cycle t - 2 read; writes of t - 3 may or may not be seen by it, those before are.
        with m.If(looked & ~recent[2] & ~recent[1] & ~recent[0]):
            m.d.comb += Assert(seen == held)
        m.d.comb += [
            Cover(looked & (hits == 3) & (seen == 0x5A) & (self.watched[:3] == 7) & ~recent.any()),
            Cover(looked & (hits == 1) & (seen == 0x5A) & (self.watched[:3] == 0)),
        ]
        return m


class Unturned(OutputBuffer):
    """Broken on purpose: lanes stay where they are."""

    @staticmethod
    def _turn(asked, positions):
        return asked.data.as_value()


@DEPTHS
def test_proof(pipeline):
    cfg = machine(3, 64, pipeline=pipeline)
    assert_proved(ByteSpec(OutputBuffer(cfg)), depth=8)
    assert_covered(ByteSpec(OutputBuffer(cfg)), depth=10)


@DEPTHS
def test_proof_of_broken(pipeline):
    assert_refuted(ByteSpec(Unturned(machine(3, 64, pipeline=pipeline))), depth=8)
