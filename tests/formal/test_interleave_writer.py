# SPDX-License-Identifier: Apache-2.0
"""The interleave writer: every byte of every run goes to its place, and nothing else is written."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.load.interleave_writer import InterleaveWriter, run_layout
from kiwicha.hw.parts.format_rules import format_job
from kiwicha.machine.config import AcceleratorConfig

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports
from ..support.slow import slow

LATENCY = 5
DEPTH = 10


def machine(array_rows=4, rows=(3, 5)):
    return AcceleratorConfig(
        rows=array_rows, columns=4, axi_data_width=64, activation_bytes=256, weight_bytes=256,
        requantize_lanes=1, interleave={"rows": rows},
    )


class PlaceSpec(wiring.Component):
    """One byte of each beat, any one, and how many there are."""

    def __init__(self, unit: InterleaveWriter) -> None:
        self.unit = unit
        cfg = unit.cfg
        super().__init__({
            "job": In(stream.Signature(format_job(cfg))),
            "i": In(stream.Signature(run_layout(cfg.beat_bytes))),
            "watched": In(range(cfg.beat_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.unit
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        cfg, part, job = self.unit.cfg, self.i.payload, self.job.payload
        size, banks = cfg.activation_bytes, cfg.activation_banks

        begun = Signal()
        m.d.comb += [
            begun.eq(self.job.valid & self.job.ready),
            Assume(Cat(job.extent == rows for rows in cfg.interleave.rows).any()),
            Assume(part.head <= part.tail),
        ]
        # Beats of a run follow each other without a gap; the first of an instruction begins one.
        whole, new = Signal(), Signal()
        taken = Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready & first.started),
            Assume(~taken | part.fresh | (whole & ~new & (part.head == 0))),
        ]
        extent, pitch = Signal.like(job.extent), Signal(signed(32))
        line, follows, ended = Signal(signed(36)), Signal(signed(36)), Signal()
        start, place = Signal(signed(36)), Signal(signed(36))
        live, last = Signal(signed(36)), Signal(signed(36))
        m.d.comb += [
            start.eq(Mux(part.fresh, line, follows)),
            live.eq(part.tail - part.head),
            place.eq(start + (self.watched - part.head) * extent),
            last.eq(start + live * extent),
            Assume(~self.i.valid | ~ended),
        ]
        with m.If(begun):
            m.d.sync += [
                extent.eq(job.extent), pitch.eq(Cat(job.low_pitch, job.row_pitch)),
                line.eq(Cat(job.low, job.row)), new.eq(1), ended.eq(0),
            ]
        with m.If(taken):
            m.d.sync += [
                new.eq(0), whole.eq(part.tail == cfg.beat_bytes - 1), ended.eq(part.last),
                follows.eq(last + extent),
            ]
            with m.If(part.fresh):
                m.d.sync += line.eq(line + pitch)

        # What was taken five cycles ago is written now, unless it or something before was outside.
        wrong, dead = Signal(), Signal()
        m.d.comb += wrong.eq(taken & ((start < 0) | (last >= size)))
        m.d.sync += dead.eq(dead | wrong)
        seen = (self.watched >= part.head) & (self.watched <= part.tail)
        octet = part.data.word_select(self.watched, 8)
        values = (taken & ~wrong & ~dead, seen, place[:8], octet, live + 1, part.last)
        pipe = [values]
        for age in range(LATENCY):
            stage = tuple(Signal(len(v), name=f"v{k}_{age}") for k, v in enumerate(values))
            m.d.sync += [new_.eq(old) for new_, old in zip(stage, pipe[-1], strict=True)]
            pipe.append(stage)
        written, there, where, value, count, ends = pipe[-1]
        bank_bits = (banks - 1).bit_length()
        byte = dut.write.payload[where[:bank_bits]]
        number = sum(dut.write.payload[bank].live for bank in range(banks))
        wide = Signal()
        m.d.comb += wide.eq(written & there & (count == cfg.beat_bytes) & (value == 0x5A))
        with m.If(first.started):
            m.d.comb += [
                Assert(dut.write.valid == written),
                Assert(dut.done == (written & ends)),
                Assert(~written | (number == count)),
                Assert(
                    ~(written & there)
                    | (byte.live & (byte.octet == value) & (byte.word == where[bank_bits:]))
                ),
                *(Cover(wide & (extent == rows)) for rows in cfg.interleave.rows),
                Cover(dut.outside),
                Cover(dut.done & (count == 1)),
            ]
        return m


class Unturned(InterleaveWriter):
    """Broken on purpose: banks that have gone around keep the word of byte 0."""

    def _word(self, place, words, bits, bank):
        return place[bits:] + words


class Early(InterleaveWriter):
    """Broken on purpose: the bytes before a run's first one are not stepped over."""

    def _before(self, chosen):
        return 0


CONFIGS = [pytest.param(machine(), id="narrow"), pytest.param(machine(16, (3, 7)), id="wide")]


@slow("wide")
@pytest.mark.parametrize("cfg", CONFIGS)
def test_proved(cfg):
    assert_proved(PlaceSpec(InterleaveWriter(cfg)), depth=DEPTH, timeout=600)


@pytest.mark.parametrize("cfg", CONFIGS)
def test_covered(cfg):
    assert_covered(PlaceSpec(InterleaveWriter(cfg)), depth=DEPTH + 2, timeout=600)


@pytest.mark.parametrize("broken", [Unturned, Early])
def test_broken_is_refuted(broken):
    assert_refuted(PlaceSpec(broken(machine())), depth=DEPTH, timeout=600)
