# SPDX-License-Identifier: Apache-2.0
"""Every vector of a block leaves once, in order, with the scale of its own block."""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.statistics.block_buffer import BlockBuffer

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

DEPTH, BLOCKS, NUMBER = 2, 2, 3


class BrokenBuffer(BlockBuffer):
    """Broken on purpose."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__(NUMBER, NUMBER, DEPTH, BLOCKS + (fault == "too many blocks"))

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "scale leaves early":
            vectors = m.submodules.queue.o
            m.d.comb += self.scale.ready.eq(vectors.valid & self.o.ready)
        if self.fault == "vector without scale":
            m.d.comb += self.o.valid.eq(m.submodules.queue.o.valid)
        return m


class BufferSpec(wiring.Component):
    """Vectors carry their own number; the scale of a block is the number of the block."""

    offer: In(1)
    last: In(1)
    scaled: In(1)
    ready: In(1)

    def __init__(self, dut):
        self.dut = dut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        entered, left = Signal(NUMBER), Signal(NUMBER)
        finished, scaled, emptied = Signal(4), Signal(4), Signal(4)
        m.d.comb += [
            dut.i.valid.eq(self.offer),
            dut.i.payload.vector.eq(entered),
            dut.i.payload.last.eq(self.last),
            # A scale comes at any time after its block has entered.
            dut.scale.valid.eq(self.scaled & (scaled != finished)),
            dut.scale.payload.eq(scaled),
            dut.o.ready.eq(self.ready),
        ]
        put, get = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        m.d.sync += [
            entered.eq(entered + put),
            left.eq(left + get),
            finished.eq(finished + (put & self.last)),
            scaled.eq(scaled + (dut.scale.valid & dut.scale.ready)),
            emptied.eq(emptied + (get & dut.o.payload.last)),
        ]
        was = Signal.like(dut.o.payload.as_value())
        waiting, offered, held_scale = Signal(), Signal(), Signal()
        m.d.sync += [
            waiting.eq(dut.o.valid & ~dut.o.ready),
            was.eq(dut.o.payload),
            offered.eq(self.offer & ~dut.i.ready),
            held_scale.eq(dut.scale.valid & ~dut.scale.ready),
        ]
        with m.If(first.started):
            m.d.comb += Assume(finished < 7)
            with m.If(offered):
                m.d.comb += Assume(self.offer)
            with m.If(held_scale):
                m.d.comb += Assume(self.scaled)
            with m.If(dut.o.valid):
                m.d.comb += [
                    Assert(dut.o.payload.vector == left),
                    Assert(dut.o.payload.scale == emptied[:NUMBER]),
                    Assert(emptied != finished),
                ]
            with m.If(waiting):
                m.d.comb += [Assert(dut.o.valid), Assert(dut.o.payload.as_value() == was)]
            m.d.comb += [
                Assert(scaled == emptied),
                Assert(finished - emptied <= BLOCKS),
                Cover((emptied == 3) & (left == 5)),
                Cover((finished - emptied == BLOCKS) & self.offer & ~dut.i.ready),
                Cover((finished == emptied) & (entered - left == DEPTH + 1)),
                Cover(get & put & (emptied == 1) & (finished == 2)),
            ]
        return m


def make():
    return BufferSpec(BlockBuffer(NUMBER, NUMBER, DEPTH, BLOCKS))


def test_proved():
    assert_proved(make(), depth=10)


def test_covered():
    assert_covered(make(), depth=14)


@pytest.mark.parametrize("fault", ["scale leaves early", "vector without scale", "too many blocks"])
def test_broken_is_refuted(fault):
    assert_refuted(BufferSpec(BrokenBuffer(fault)), depth=12)


def test_bad_blocks():
    with pytest.raises(ValueError, match=r"^blocks is 0; legal: at least 1$"):
        BlockBuffer(NUMBER, NUMBER, DEPTH, 0)
