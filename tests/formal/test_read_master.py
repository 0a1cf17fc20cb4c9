# SPDX-License-Identifier: Apache-2.0
"""Proofs about the read master: its bursts are legal, wanted and complete, its data in order."""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In

from kiwicha.hw.parts import bursts
from kiwicha.hw.parts.axi import REQUEST
from kiwicha.hw.parts.bursts import BurstPlanner
from kiwicha.hw.parts.read_master import ReadMaster
from kiwicha.machine.isa import ErrorCode

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from .master_rules import TOTAL, AddressRules, ShortPlanner, held, machine


class ReadRules(Component):
    """A read master between any client and any legal subordinate."""

    request: In(stream.Signature(REQUEST))
    pick: In(1)
    window_base: In(16)
    window_limit: In(16)
    stop: In(1)
    data_ready: In(1)
    arready: In(1)
    rvalid: In(1)
    bad: In(1)

    def __init__(self, dut, account):
        self.dut = dut
        self.account = account
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        m.submodules.rules = rules = AddressRules(dut.cfg, account=self.account)
        axi = dut.axi
        base = held(m, first.first, self.window_base)
        limit = held(m, first.first, self.window_limit)
        wiring.connect(m, wiring.flipped(self.request), dut.request)
        faulted = Signal()
        with m.If(dut.error.valid):
            m.d.sync += faulted.eq(1)
        m.d.comb += [
            dut.window_base.eq(base), dut.window_limit.eq(limit), dut.stop.eq(self.stop),
            dut.data.ready.eq(self.data_ready), axi.arready.eq(self.arready),
            axi.rvalid.eq(self.rvalid), axi.rresp.eq(Mux(self.bad, 2, 0)),
            rules.on.eq(first.started), rules.pick.eq(self.pick), rules.stop.eq(self.stop),
            rules.faulted.eq(faulted | dut.error.valid), rules.idle.eq(dut.idle),
            rules.request.valid.eq(self.request.valid),
            rules.request.payload.eq(self.request.payload),
            rules.accepted.eq(self.request.valid & self.request.ready),
            rules.base.eq(base), rules.limit.eq(limit), rules.valid.eq(axi.arvalid),
            rules.ready.eq(axi.arready), rules.address.eq(axi.araddr), rules.length.eq(axi.arlen),
        ]

        # The subordinate: beats only of bursts it has accepted, in order, `rlast` where it belongs.
        outstanding = dut.cfg.axi_outstanding
        lengths = [Signal(8, name=f"length{k}") for k in range(outstanding)]
        waiting = Signal(range(outstanding + 1))
        beat = Signal(8)
        accepted = axi.arvalid & axi.arready
        answered = axi.rvalid & axi.rready
        ended = answered & axi.rlast
        m.d.comb += axi.rlast.eq(beat == lengths[0])
        m.d.sync += waiting.eq(waiting + accepted - ended)
        with m.If(answered):
            m.d.sync += beat.eq(Mux(axi.rlast, 0, beat + 1))
        with m.If(ended):
            m.d.sync += [here.eq(there) for here, there in zip(lengths, lengths[1:], strict=False)]
        with m.If(accepted):
            with m.Switch(waiting - ended):
                for k, length in enumerate(lengths):
                    with m.Case(k):
                        m.d.sync += length.eq(axi.arlen)
        stuck = Signal()
        m.d.sync += stuck.eq(axi.rvalid & ~axi.rready)
        m.d.comb += Assume(~axi.rvalid | (waiting != 0))
        with m.If(first.started & stuck):
            m.d.comb += Assume(axi.rvalid)

        taken = dut.data.valid & dut.data.ready
        received = Signal(TOTAL)
        m.d.sync += received.eq(received + taken)
        place = received - rules.before
        within = rules.picked & (place >= 0) & (place < rules.beats)
        final = place == rules.beats - 1
        failing = Signal()
        m.d.sync += failing.eq(answered & self.bad & ~faulted & ~dut.error.valid)
        with m.If(first.started):
            m.d.comb += [
                Assert(waiting + axi.arvalid <= outstanding),
                Assert(taken == answered),
                Assert(~(dut.idle & ((waiting != 0) | axi.arvalid))),
                Assert(~failing | (dut.error.valid
                                   & (dut.error.payload.code == ErrorCode.READ_RESPONSE))),
                Assert(~(dut.error.valid & faulted)),
            ]
            m.d.comb += Cover(
                dut.error.valid & (dut.error.payload.code == ErrorCode.READ_WINDOW)
            )
            if self.account:
                with m.If(taken & within):
                    m.d.comb += Assert(dut.data.payload.last == final)
                m.d.comb += [
                    Cover(taken & within & final & (rules.beats > 2)),
                    Cover(dut.error.valid & (dut.error.payload.code == ErrorCode.READ_RESPONSE)),
                    Cover((waiting == outstanding) & self.stop),
                ]
        return m


class LooseWindow(BurstPlanner):
    """Broken: forgets the lower end of the window."""

    def _inside(self, first, end, beyond):
        return (end <= self.window_limit[(self.cfg.beat_bytes - 1).bit_length() :]) & (beyond == 0)


class WrappingAddress(BurstPlanner):
    """Broken: forgets the address bits that the bus does not have."""

    def _inside(self, first, end, beyond):
        return super()._inside(first, end, beyond[:0])


class LooseMaster(ReadMaster):
    """A read master with another planner."""

    planner = LooseWindow

    def _planner(self):
        return self.planner(self.cfg, ErrorCode.READ_WINDOW)


class WrappingMaster(LooseMaster):
    planner = WrappingAddress


class ShortMaster(LooseMaster):
    planner = ShortPlanner


def test_any_request_short_bursts():
    assert_proved(ReadRules(ReadMaster(machine(64, 2)), account=False), depth=8)


def test_any_request_bursts_of_a_page():
    assert_proved(ReadRules(ReadMaster(machine(256, 256)), account=False), depth=8)


def test_every_beat_once():
    assert_proved(ReadRules(ReadMaster(machine(64, 2)), account=True), depth=10)


@pytest.mark.parametrize("account", [False, True])
def test_covers(account):
    assert_covered(ReadRules(ReadMaster(machine(64, 2)), account=account), depth=18)


@pytest.mark.parametrize("broken", [LooseMaster, WrappingMaster, ShortMaster])
def test_broken_planner_is_refuted(broken):
    assert_refuted(ReadRules(broken(machine(64, 2)), account=True), depth=10)


def test_crossing_is_refuted(monkeypatch):
    monkeypatch.setattr(bursts, "PAGE_BYTES", 8192)
    assert_refuted(ReadRules(ReadMaster(machine(256, 256)), account=False), depth=8)
