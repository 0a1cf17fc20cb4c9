# SPDX-License-Identifier: Apache-2.0
"""The bench and the stream drivers accept a right skid buffer and refuse four broken ones."""

import random

import cocotb
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .bench import bench_params, run_cocotb
from .randomness import check_random
from .streams import (
    READY_POLICIES,
    StreamSink,
    StreamSource,
    _chooser,
    _pattern,
    start_clock_and_reset,
)

WORD = data.StructLayout({"tag": 3, "value": signed(9)})

FAULTS = ("lost", "unstable", "valid_waits", "valid_falls")


class Skid(wiring.Component):
    """A two-word skid buffer: registered ready, one word a cycle; ``fault`` breaks it on purpose.

    Members
    -------
    i : In(stream of WORD); o : Out(stream of WORD), one cycle later.
    """

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(WORD))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spare = Signal(WORD)
        full = Signal()
        m.d.comb += self.i.ready.eq(~full)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(full | self.i.valid),
                self.o.payload.eq(spare),
                full.eq(0),
            ]
            with m.If(~full):
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare.eq(self.i.payload), full.eq(self.fault != "lost")]
            if self.fault == "unstable":
                m.d.sync += self.o.payload.value.eq(self.i.payload.value)
        if self.fault == "valid_falls":
            with m.If(full & self.o.valid):
                m.d.sync += self.o.valid.eq(0)
        return m


class Polite(wiring.Component):
    """A register whose ``valid`` waits for ``ready``: legal-looking data, illegal handshake."""

    i: In(stream.Signature(WORD))
    o: Out(stream.Signature(WORD))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & self.o.ready),
            self.i.ready.eq(self.o.ready),
        ]
        idle = Signal()
        m.d.sync += idle.eq(~idle)
        return m


@cocotb.test(timeout_time=50, timeout_unit="us")
async def passes_words(dut):
    params = bench_params()
    await start_clock_and_reset(dut)
    chooser = random.Random(params["seed"])
    words = [
        {"tag": chooser.randrange(8), "value": chooser.randrange(-256, 256)} for _ in range(100)
    ]
    sink = StreamSink(dut, "o", WORD, policy=params["ready"], seed=params["seed"])
    source = StreamSource(dut, "i", WORD, policy=params["offer"], seed=params["seed"])
    source.put(words)
    assert await sink.receive(len(words)) == words


@pytest.mark.parametrize("ready", READY_POLICIES)
@pytest.mark.parametrize("offer", ["always", "random"])
def test_good(ready, offer):
    params = {"ready": ready, "offer": offer, "seed": 7}
    result = run_cocotb(Skid(), __name__, params=params, testcase="passes_words")
    assert result.tests == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_broken(fault):
    unit = Polite() if fault == "valid_waits" else Skid(fault)
    ready = "after_valid" if fault == "valid_waits" else "random"
    with pytest.raises(pytest.fail.Exception, match="passes_words"):
        run_cocotb(unit, __name__, params={"ready": ready, "offer": "always", "seed": 7})


def test_sides_pause_each_by_itself():
    sides = [
        _pattern("random", _chooser(seed, name, side))
        for seed in (1, 2) for name in ("i", "o") for side in ("source", "sink")
    ]
    check_random([[next(side) for side in sides] for _ in range(8192)], 0.5)


def test_no_test_is_a_failure():
    with pytest.raises(pytest.fail.Exception, match="no cocotb test ran"):
        run_cocotb(Skid(), __name__, testcase="no_such_test")


def test_verilator():
    params = {"ready": "random", "offer": "random", "seed": 7}
    run_cocotb(Skid(), __name__, params=params, simulator="verilator", testcase="passes_words")
