# SPDX-License-Identifier: Apache-2.0
"""Proofs about the write master: its bursts are legal, wanted, complete and fed in order."""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In

from kiwicha.hw.parts import bursts, write_master
from kiwicha.hw.parts.axi import REQUEST
from kiwicha.hw.parts.bursts import BurstPlanner
from kiwicha.hw.parts.write_master import WriteMaster
from kiwicha.machine.isa import ErrorCode

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from .master_rules import TOTAL, AddressRules, ShortPlanner, held, machine

OUTSTANDING = 2


@pytest.fixture(autouse=True)
def few_outstanding(monkeypatch):
    monkeypatch.setattr(write_master, "OUTSTANDING_WRITES", OUTSTANDING)


class WriteRules(Component):
    """A write master between any client and any legal subordinate."""

    request: In(stream.Signature(REQUEST))
    pick: In(1)
    window_base: In(16)
    window_limit: In(16)
    stop: In(1)
    word: In(4)
    data_valid: In(1)
    awready: In(1)
    wready: In(1)
    bvalid: In(1)
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
            dut.data.valid.eq(self.data_valid), dut.data.payload.data.eq(self.word),
            dut.data.payload.strobe.eq(~self.word), axi.awready.eq(self.awready),
            axi.wready.eq(self.wready), axi.bvalid.eq(self.bvalid),
            axi.bresp.eq(Mux(self.bad, 2, 0)),
            rules.on.eq(first.started), rules.pick.eq(self.pick), rules.stop.eq(self.stop),
            rules.faulted.eq(faulted | dut.error.valid), rules.idle.eq(dut.idle),
            rules.request.valid.eq(self.request.valid),
            rules.request.payload.eq(self.request.payload),
            rules.accepted.eq(self.request.valid & self.request.ready),
            rules.base.eq(base), rules.limit.eq(limit), rules.valid.eq(axi.awvalid),
            rules.ready.eq(axi.awready), rules.address.eq(axi.awaddr), rules.length.eq(axi.awlen),
        ]

        # The client keeps what it offers, and so must the master.
        stuck = Signal()
        word = Signal(4)
        m.d.sync += [stuck.eq(dut.data.valid & ~dut.data.ready), word.eq(self.word)]
        with m.If(first.started & stuck):
            m.d.comb += [Assume(self.data_valid), Assume(self.word == word)]
        offered = Signal()
        last = Signal()
        m.d.sync += [offered.eq(axi.wvalid & ~axi.wready), last.eq(axi.wlast)]

        # Bursts offered, in order, each until its last beat; then those that lack a response.
        begun = axi.awvalid & ~rules.offered
        sent = axi.wvalid & axi.wready
        ended = sent & axi.wlast
        answered = axi.bvalid & axi.bready
        lengths = [Signal(8, name=f"length{k}") for k in range(OUTSTANDING)]
        open_data = Signal(range(OUTSTANDING + 1))
        unanswered = Signal(range(OUTSTANDING + 1))
        accepted = Signal(range(OUTSTANDING + 1))
        beat = Signal(8)
        now_open = open_data + begun
        head = Mux(open_data == 0, axi.awlen, lengths[0])
        m.d.sync += [
            open_data.eq(now_open - ended),
            unanswered.eq(unanswered + ended - answered),
            accepted.eq(accepted + (axi.awvalid & axi.awready) - answered),
        ]
        with m.If(sent):
            m.d.sync += beat.eq(Mux(axi.wlast, 0, beat + 1))
        with m.If(ended):
            m.d.sync += [here.eq(there) for here, there in zip(lengths, lengths[1:], strict=False)]
        with m.If(begun):
            with m.Switch(open_data - ended):
                for k, length in enumerate(lengths):
                    with m.Case(k):
                        m.d.sync += length.eq(axi.awlen)
        # A response needs all data, and the address, of its burst.
        m.d.comb += Assume(~axi.bvalid | ((unanswered != 0) & (accepted != 0)))
        silent = Signal()
        m.d.sync += silent.eq(axi.bvalid & ~axi.bready)
        with m.If(first.started & silent):
            m.d.comb += Assume(axi.bvalid)

        failing = Signal()
        m.d.sync += failing.eq(answered & self.bad & ~faulted & ~dut.error.valid)
        received = Signal(TOTAL)
        finished = Signal(4)
        asked = Signal(4)
        m.d.sync += [
            received.eq(received + sent),
            finished.eq(finished + dut.done.valid),
            asked.eq(asked + rules.accepted),
        ]
        with m.If(first.started):
            with m.If(offered):
                m.d.comb += [Assert(axi.wvalid), Assert(axi.wlast == last)]
            with m.If(axi.wvalid):
                m.d.comb += [
                    Assert(now_open != 0),
                    Assert(axi.wlast == (beat == head)),
                    Assert(axi.wdata == self.word),
                    Assert(axi.wstrb == (~self.word)[:4]),
                ]
            m.d.comb += [
                Assert(sent == (dut.data.valid & dut.data.ready)),
                Assert(now_open + unanswered <= OUTSTANDING),
                Assert(~(dut.idle & (axi.awvalid | axi.wvalid | (unanswered != 0)))),
                Assert(~failing | (dut.error.valid
                                   & (dut.error.payload.code == ErrorCode.WRITE_RESPONSE))),
                Assert(~(dut.error.valid & faulted)),
                Assert(~(dut.done.valid & faulted)),
                Cover(dut.error.valid & (dut.error.payload.code == ErrorCode.WRITE_WINDOW)),
            ]
            if self.account:
                quiet = dut.idle & ~self.stop & ~rules.faulted
                m.d.comb += [
                    Assert(~quiet | (finished + dut.done.valid == asked)),
                    Assert(finished + dut.done.valid <= asked),
                    Cover(quiet & (asked == 2) & (received == 4)),
                    Cover(dut.error.valid & (dut.error.payload.code == ErrorCode.WRITE_RESPONSE)),
                    Cover(rules.offered & ended),
                    Cover((open_data == 2) & self.stop),
                ]
        return m


class LooseWindow(BurstPlanner):
    """Broken: forgets the upper end of the window."""

    def _inside(self, first, end, beyond):
        return super()._inside(first, first, beyond)


class LooseMaster(WriteMaster):
    """A write master with another planner."""

    planner = LooseWindow

    def _planner(self):
        return self.planner(self.cfg, ErrorCode.WRITE_WINDOW)


class ShortMaster(LooseMaster):
    planner = ShortPlanner


def test_any_request_short_bursts():
    assert_proved(WriteRules(WriteMaster(machine(64, 2)), account=False), depth=10)


def test_any_request_bursts_of_a_page():
    assert_proved(WriteRules(WriteMaster(machine(256, 256)), account=False), depth=8)


def test_every_beat_once():
    assert_proved(WriteRules(WriteMaster(machine(64, 2)), account=True), depth=10)


@pytest.mark.parametrize("account", [False, True])
def test_covers(account):
    assert_covered(WriteRules(WriteMaster(machine(64, 2)), account=account), depth=18)


@pytest.mark.parametrize("broken", [LooseMaster, ShortMaster])
def test_broken_planner_is_refuted(broken):
    assert_refuted(WriteRules(broken(machine(64, 2)), account=True), depth=10)


def test_crossing_is_refuted(monkeypatch):
    monkeypatch.setattr(bursts, "PAGE_BYTES", 8192)
    assert_refuted(WriteRules(WriteMaster(machine(256, 256)), account=False), depth=8)
