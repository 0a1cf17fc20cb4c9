# SPDX-License-Identifier: Apache-2.0
"""No command and no event is lost behind AXI4-Lite: any order of channels, any distance of writes.

With `test_supervisor`, which takes the pulses: ABORT at any distance from START stops the program,
and no register that is locked changes once START was answered.
"""

import pytest
from amaranth.hdl import Assert, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.control.registers import RegisterFile
from kiwicha.machine.presets import preset
from kiwicha.machine.register_map import ADDRESS_BITS, RECORD_OFFSET

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

SETTLED = RECORD_OFFSET // 4 + 1  # cycles after reset in which nothing is taken
DEPTH = SETTLED + 14


class BrokenRegisterFile(RegisterFile):
    """Broken on purpose."""

    def __init__(self, mistake: str) -> None:
        self.mistake = mistake
        super().__init__(preset("tiny"))

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        if self.mistake == "abort right after start is lost":
            started = Signal()
            m.d.sync += started.eq(self.control.start | (started & ~self.bus.bready))
            with m.If(started):
                m.d.sync += self.control.abort.eq(0)
        elif self.mistake == "clearing wins over an event":
            with m.If(~self.bus.bvalid & self.bus.bready & self.interrupt):
                m.d.sync += self._states["interrupt_status"].eq(0)
        elif self.mistake == "a second write in the cycle of start":
            with m.If(self.control.start & ~self.locked):
                m.d.sync += self.watchdog.value.eq(0)
        return m


class RegisterFileSpec(wiring.Component):
    """What software and the supervisor rely on."""

    awaddr: In(ADDRESS_BITS)
    awvalid: In(1)
    wdata: In(32)
    wstrb: In(4)
    wvalid: In(1)
    bready: In(1)
    locked: In(1)
    events: In(2)

    def __init__(self, dut: RegisterFile) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        bus, offsets = dut.bus, {register.name: register.offset for register in dut.map}
        join_ports(m, self, bus)
        m.d.comb += [dut.locked.eq(self.locked), dut.interrupt_status.eq(self.events)]

        # The writes taken, by their own account: a half of one is kept until both are there.
        address, word, strobe = Signal(ADDRESS_BITS), Signal(32), Signal(4)
        has_address, has_word, was_locked, was_answer = (Signal() for _ in range(4))
        due, done = Signal(), Signal()
        m.d.sync += [was_answer.eq(bus.bvalid), due.eq(0), was_locked.eq(self.locked)]
        with m.If(has_address & has_word & ~bus.bvalid):
            m.d.sync += [has_address.eq(0), has_word.eq(0), due.eq(1)]
        with m.If(self.awvalid & bus.awready):
            m.d.sync += [address.eq(self.awaddr), has_address.eq(1)]
        with m.If(self.wvalid & bus.wready):
            m.d.sync += [word.eq(self.wdata), strobe.eq(self.wstrb), has_word.eq(1)]
        m.d.comb += done.eq(bus.bvalid & ~was_answer)

        # In the cycle of its answer a write is known by what was taken for it.
        written, lanes, place = Signal(32), Signal(4), Signal(ADDRESS_BITS - 2)
        m.d.sync += [written.eq(word), lanes.eq(strobe), place.eq(address[2:])]
        commands = done & (place == offsets["control"] >> 2) & lanes[0]
        cleared = Mux(done & (place == offsets["interrupt_status"] >> 2) & lanes[0], written, 0)
        status, was_events = Signal(2), Signal(2)
        m.d.sync += [status.eq(status & ~cleared | was_events), was_events.eq(self.events)]
        expected = Signal(2)
        m.d.comb += expected.eq(status & ~cleared | was_events)

        was_start, watchdog = Signal(), Signal(32)
        m.d.sync += [was_start.eq(dut.control.start), watchdog.eq(dut.watchdog.value)]
        since_start, aborted = Signal(4, init=15), Signal()
        m.d.sync += since_start.eq(
            Mux(dut.control.start, 1, since_start + (since_start != 15))
        )
        m.d.comb += aborted.eq(dut.control.abort & ~dut.control.start)

        with m.If(first.started):
            m.d.comb += [
                # An answer for every write and no other.
                Assert(done == due),
                # Commands are pulses, in the cycle of the answer.
                Assert(dut.control.start == (commands & written[0])),
                Assert(dut.control.abort == (commands & written[1])),
                Assert(~commands | (bus.bresp == 0)),
                # An event is kept until it is cleared, also in the cycle in which another is.
                Assert(dut._states["interrupt_status"] == expected),
                Assert(dut.interrupt == (expected & dut.interrupt_enable.as_value()).any()),
                # No write is done between START and the lock that follows it in the next cycle.
                Assert(~(was_start | was_locked) | (dut.watchdog.value == watchdog)),
                Cover(dut.control.start & dut.control.abort),
                *(Cover(aborted & (since_start == distance)) for distance in range(2, 9)),
                Cover(done & (cleared & was_events).any()),
                Cover(done & was_locked & (place == offsets["watchdog"] >> 2) & bus.bresp[1]),
            ]
        return m


def test_proved():
    assert_proved(RegisterFileSpec(RegisterFile(preset("tiny"))), depth=DEPTH)


def test_covered():
    assert_covered(RegisterFileSpec(RegisterFile(preset("tiny"))), depth=DEPTH)


@pytest.mark.parametrize(
    "mistake",
    [
        "abort right after start is lost",
        "clearing wins over an event",
        "a second write in the cycle of start",
    ],
)
def test_broken_is_refuted(mistake):
    assert_refuted(RegisterFileSpec(BrokenRegisterFile(mistake)), depth=DEPTH)
