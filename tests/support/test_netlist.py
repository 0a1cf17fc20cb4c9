# SPDX-License-Identifier: Apache-2.0
"""The netlist checks pass a right unit and notice a latch, an async reset and a missing reset."""

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .netlist import assert_structure, run_stripped
from .test_streams import WORD, Skid

PARAMS = {"ready": "random", "offer": "random", "seed": 7}


class Forgetful(wiring.Component):
    """A register stage whose ``valid`` is right at power-up but is not reset."""

    i: In(stream.Signature(WORD))
    o: Out(stream.Signature(WORD))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid = Signal(reset_less=True)
        m.d.comb += [self.i.ready.eq(~valid | self.o.ready), self.o.valid.eq(valid)]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class Asynchronous(wiring.Component):
    """A register in a domain of its own, with an asynchronous reset."""

    c: In(1)
    r: In(1)
    o: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain("sync", async_reset=True)
        m.d.comb += [ClockSignal().eq(self.c), ResetSignal().eq(self.r)]
        m.d.sync += self.o.eq(~self.o)
        return m


def test_right_unit(icarus):
    assert_structure(Skid())
    run_stripped(Skid(), "tests.support.test_streams", params=PARAMS, testcase="passes_words")


def test_missing_reset(icarus):
    with pytest.raises(pytest.fail.Exception, match=r"(valid|ready) is"):
        run_stripped(Forgetful(), "tests.support.test_streams", params=PARAMS)


def test_asynchronous_reset():
    with pytest.raises(AssertionError, match="select"):
        assert_structure(Asynchronous())
