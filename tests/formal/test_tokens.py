# SPDX-License-Identifier: Apache-2.0
"""Tokens are neither lost nor made: each counter is what was given less what was taken."""

import pytest
from amaranth.hdl import Assert, Cat, Cover, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.control.tokens import Tokens
from kiwicha.machine.isa import ENGINES, Engine, ErrorCode

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

BITS = 2


class Leaky(Tokens):
    """Broken on purpose: 4 faults a reviewer might not see."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(BITS)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        acquire, release = self.acquire[1], self.release[2]
        count = self._counts[Engine.VECTOR, Engine.COMPUTE]
        if self.fault == "any instead of all":
            m.d.comb += acquire.ready.eq((acquire.payload == 0) | ~count[-1])
        elif self.fault == "give lost when taken":
            with m.If(acquire.valid & acquire.ready & release.valid & acquire.payload[2]):
                m.d.sync += count.eq(count - 1)
        elif self.fault == "silent overflow":
            m.d.sync += self.error.valid.eq(0)
        elif self.fault == "wraps":
            with m.If(release.valid & release.payload[1] & (count == (1 << BITS) - 2)):
                m.d.sync += count.eq(-1)
        return m


class TokensSpec(wiring.Component):
    """Keeps its own balance of every pair, as a signed number that could go negative."""

    acquire: In(stream.Signature(ENGINES)).array(ENGINES)
    release: In(stream.Signature(ENGINES, always_ready=True)).array(ENGINES)

    def __init__(self, dut: Tokens) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        most = (1 << BITS) - 1
        given, taken = Signal(ENGINES * ENGINES), Signal(ENGINES * ENGINES)
        dropped, dropped_by = Signal(ENGINES * ENGINES), Signal(ENGINES)
        reported_by = Signal(ENGINES)
        m.d.sync += reported_by.eq(dropped_by)
        balance = [Signal(signed(BITS + 2), name=f"balance_{k}") for k in range(ENGINES**2)]
        for engine in range(ENGINES):
            m.d.sync += dropped_by[engine].eq(dropped.word_select(engine, ENGINES).any())
            with m.If(first.started):
                # Inductive as below.
                m.d.comb += Assert(dropped_by[engine] == dut._overflows[engine].any())
        for producer in range(ENGINES):
            for consumer in range(ENGINES):
                pair = ENGINES * producer + consumer
                acquire, release = dut.acquire[consumer], dut.release[producer]
                m.d.comb += [
                    given[pair].eq(release.valid & release.payload[consumer]),
                    taken[pair].eq(acquire.valid & acquire.ready & acquire.payload[producer]),
                    dropped[pair].eq(given[pair] & ~taken[pair] & (balance[pair] == most)),
                ]
                m.d.sync += balance[pair].eq(
                    balance[pair] + given[pair] - taken[pair] - dropped[pair]
                )
                with m.If(first.started):
                    m.d.comb += [
                        Assert(balance[pair] >= 0),
                        Assert(balance[pair] <= most),
                        # What makes the proof inductive; the others speak of ports alone.
                        Assert(
                            balance[pair] - 1
                            == dut._counts[Engine(producer), Engine(consumer)].as_signed()
                        ),
                    ]
        error = dut.error
        with m.If(first.started):
            for consumer, acquire in enumerate(dut.acquire):
                there = Cat(balance[ENGINES * p + consumer] > 0 for p in range(ENGINES))
                m.d.comb += Assert(acquire.ready == ((acquire.payload & ~there) == 0))
            m.d.comb += [
                Assert(error.valid == reported_by.any()),
                Assert(~error.valid | reported_by.bit_select(error.payload.address[:3], 1)),
                Assert(~error.valid | (error.payload.address < ENGINES)),
                Assert(~error.valid | (error.payload.code == ErrorCode.TOKEN_OVERFLOW)),
            ]
            for pair in (7, 24):
                m.d.comb += [
                    Cover(error.valid & (error.payload.address == pair // ENGINES)),
                    Cover((balance[pair] == most) & given[pair] & taken[pair]),
                    Cover(taken.all() & Mux(pair == 7, given.all(), ~given.any())),
                ]
        return m


def test_proved():
    assert_proved(TokensSpec(Tokens(BITS)), depth=2, mode="prove")


def test_covered():
    assert_covered(TokensSpec(Tokens(BITS)), depth=8)


@pytest.mark.parametrize(
    "fault", ["any instead of all", "give lost when taken", "silent overflow", "wraps"]
)
def test_broken_is_refuted(fault):
    assert_refuted(TokensSpec(Leaky(fault)), depth=8)
