# SPDX-License-Identifier: Apache-2.0
"""Whatever is written and read, a lane's operand is the byte that was written last at its place."""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.vector.addend_memory import AddendMemory
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

LANES, BEAT, SIZE = 3, 8, 256


def machine(pipeline=()):
    return AcceleratorConfig(
        columns=4, requantize_lanes=LANES, axi_data_width=8 * BEAT, output_bytes=SIZE,
        residual={"tables": 2}, pipeline=pipeline,
    )


class BrokenMemory(AddendMemory):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(machine())

    def elaborate(self, platform):
        m = super().elaborate(platform)
        bank = m.submodules.bank_0
        if self.fault == "no next row":
            row = Signal(5)
            m.d.sync += row.eq(self.address[3:])
            m.d.comb += bank.read_address.eq(row)
        if self.fault == "any target":
            m.d.comb += bank.write.eq(self.write.valid)
        return m

    def _turned(self, row, start):
        return super()._turned(row, start & 3 if self.fault == "halves as they are" else start)


class MemorySpec(wiring.Component):
    """One byte's place is watched; it is any of them."""

    valid: In(1)
    addend: In(1)
    beat: In(range(SIZE // BEAT))
    data: In(8 * BEAT)
    address: In(range(SIZE))
    spot: In(range(SIZE))

    def __init__(self, dut):
        self.dut = dut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        write = dut.write.payload
        m.d.comb += [
            dut.write.valid.eq(self.valid),
            write.target.eq(LoadTarget.OPERAND),
            write.address.eq(self.beat << 3),
            write.data.eq(self.data),
            dut.address.eq(self.address),
        ]
        with m.If(self.addend):
            m.d.comb += write.target.eq(LoadTarget.ADDEND)
        spot = Signal.like(self.spot, reset_less=True)
        held, known = Signal(8), Signal()
        hit = Signal()
        m.d.sync += spot.eq(self.spot)
        m.d.comb += hit.eq(self.valid & self.addend & (self.beat == self.spot[3:]))
        with m.If(hit):
            m.d.sync += [held.eq(self.data.word_select(self.spot[:3], 8)), known.eq(1)]

        # The lane goes along from the address on, the byte from one cycle later.
        lane = (self.spot - self.address)[: len(self.spot)]
        lanes, bytes_, knowns = [lane], [held], [known & ~hit]
        for cycle in range(dut.latency):
            lanes.append(_later(m, lanes[-1], f"lane_{cycle}"))
        for cycle in range(dut.latency - 1):
            bytes_.append(_later(m, bytes_[-1], f"byte_{cycle}"))
            knowns.append(_later(m, knowns[-1], f"known_{cycle}"))
        places = [_later(m, self.address, "place_0")]
        for cycle in range(1, dut.latency):
            places.append(_later(m, places[-1], f"place_{cycle}"))
        with m.If(first.started):
            m.d.comb += Assume(self.spot == spot)
            for number in range(LANES):
                seen = (lanes[-1] == number) & knowns[-1]
                with m.If(seen):
                    m.d.comb += Assert(dut.octets[number] == bytes_[-1])
                m.d.comb += Cover(seen & (places[-1][:3] == 7) & (bytes_[-1] == 9))
            m.d.comb += Cover((lanes[-1] == 2) & knowns[-1] & (places[-1] == SIZE - 1))
        return m


def _later(m, value, name):
    later = Signal(len(value), name=name)
    m.d.sync += later.eq(value)
    return later


@pytest.mark.parametrize("pipeline", [(), ("memory",)])
def test_proved(pipeline):
    assert_proved(MemorySpec(AddendMemory(machine(pipeline))), depth=8)


def test_covered():
    assert_covered(MemorySpec(AddendMemory(machine(("memory",)))), depth=9)


@pytest.mark.parametrize("fault", ["no next row", "any target", "halves as they are"])
def test_broken_is_refuted(fault):
    assert_refuted(MemorySpec(BrokenMemory(fault)), depth=8)
