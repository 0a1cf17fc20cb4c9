# SPDX-License-Identifier: Apache-2.0
"""The registers of register_map.py behind an AXI4-Lite port."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.axi import AXI4LiteSignature, Response
from kiwicha.hw.parts.ram import Ram, ram_class
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import COUNTER_WORDS, WORD_BITS
from kiwicha.machine.register_map import ADDRESS_BITS, RECORD_OFFSET, Access, Register, RegisterMap

__all__ = ["RegisterFile", "register_layout"]

_BYTES = 4
_PLACE_BITS = exact_log2(COUNTER_WORDS * WORD_BITS // 32)


def register_layout(register: Register) -> data.FlexibleLayout:
    """Return the fields of a register as a layout of 32 bits."""
    return data.FlexibleLayout(
        32, {part.name: data.Field(part.width, part.low) for part in register.fields}
    )


class RegisterFile(Component):
    """AXI4-Lite subordinate with a port for every register that is not constant.

    Write address and write data are taken in either order and independently; one write and one
    read are in progress at a time. A write answers two cycles after the later of its two halves, a
    read three cycles after its address, a counter one cycle after it was given; answers wait for
    the master. The two low address bits are ignored. Byte strobes are honoured everywhere.

    Nothing is taken in the first 64 cycles after reset, while reset values and constants are
    written to the memory that registers are read from.

    Answers: OKAY, also for writes to read-only registers (which have no effect). SLVERR, and
    reads as 0, for offsets without a register. SLVERR, without effect, for writes to a locked
    register while ``locked``.

    Parameters
    ----------
    cfg : see ``RegisterMap``.

    Members
    -------
    bus : In(AXI4LiteSignature(12))
        The port.
    locked : In(1)
        A program runs.
    count_ask : Out(1); count_place : Out(4); count_there : In(1); count : In(32)
        Read of 32 bits of the record, as ``Counters`` has it.
    <register name> : In or Out(register_layout(register))
        READ: In, what software reads. WRITE: Out, what software wrote. PULSE: Out, high for one
        cycle. CLEAR: In, ones set the bits, also in the cycle in which software clears them.
    interrupt : Out(1)
        Some bit is set both in ``interrupt_enable`` and in the interrupt status.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.map = RegisterMap(cfg)
        self._states = {
            register.name: Signal(32, name=f"{register.name}_state")
            for register in self.map
            if register.access is Access.CLEAR
        }
        ports = {}
        for register in self.map:
            layout = register_layout(register)
            if register.access in (Access.WRITE, Access.PULSE):
                init = {part.name: part.reset for part in register.fields}
                ports[register.name] = Out(layout, init=init)
            elif not register.constant and not register.counted:
                ports[register.name] = In(layout)
        # The machine changes these by itself, or they have fewer than 32 bits.
        self._live = {
            register.name
            for register in self.map
            if register.name in ports and sum(part.width for part in register.fields) < 32
        } | {name for name, port in ports.items() if port.flow == In}
        super().__init__({
            "bus": In(AXI4LiteSignature(ADDRESS_BITS)),
            "locked": In(1),
            "interrupt": Out(1),
            "count_ask": Out(1),
            "count_place": Out(_PLACE_BITS),
            "count_there": In(1),
            "count": In(32),
            **ports,
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Registers are read from a copy of them, which settles on reset values and constants first.
        places = RECORD_OFFSET >> 2
        m.submodules.copies = copies = ram_class(self.cfg.cells)(32, places, granularity=8)
        settling = Signal(init=1)

        for register in self.map:
            if register.access is Access.PULSE:
                m.d.sync += getattr(self, register.name).eq(0)
            elif register.access is Access.CLEAR:
                state = self._states[register.name]
                m.d.sync += state.eq(state | getattr(self, register.name).as_value())
                m.d.comb += self.interrupt.eq((state & self.interrupt_enable.as_value()).any())

        storing, copying = self._writes(m, copies, settling)
        self._reads(m, copies, settling, storing, copying)
        return m

    def _writes(self, m: Module, copies: Ram, settling: Signal) -> tuple[Signal, Signal]:
        """Write registers and their copies; return whether a copy is being written."""
        bus = self.bus
        stored = [r for r in self.map if r.access is Access.WRITE and r.name not in self._live]
        # The two halves are parked until both are there and the last answer is gone.
        address_held, data_held, write = Signal(), Signal(), Signal()
        accepted, storing, copying, reset_value = Signal(), Signal(), Signal(), Signal(32)
        write_index = Signal(ADDRESS_BITS - 2)
        write_data, strobe = Signal(32), Signal(_BYTES, init=(1 << _BYTES) - 1)
        s1_index, s1_data, s1_strobe = (Signal.like(x) for x in (write_index, write_data, strobe))
        m.d.comb += [
            bus.awready.eq(~address_held & ~settling),
            bus.wready.eq(~data_held & ~settling),
            write.eq(address_held & data_held & ~bus.bvalid),
        ]
        # Two cycles late: one to know which register it is, one as block RAM may be far away.
        m.d.sync += [
            storing.eq(accepted | settling),
            s1_index.eq(write_index),
            s1_data.eq(write_data | reset_value),
            s1_strobe.eq(strobe),
            copying.eq(storing),
            copies.write.eq(Mux(storing, s1_strobe, 0)),
            copies.write_address.eq(s1_index),
            copies.write_data.eq(s1_data),
        ]
        with m.If(settling):
            m.d.sync += write_index.eq(write_index + 1)
            m.d.sync += settling.eq(write_index != copies.depth - 1)
            with m.Switch(write_index):
                for register in self.map:
                    if register.reset and (register.constant or register in stored):
                        with m.Case(register.offset >> 2):
                            m.d.comb += reset_value.eq(register.reset)
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address_held.eq(1), write_index.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [data_held.eq(1), write_data.eq(bus.wdata), strobe.eq(bus.wstrb)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(write):
            m.d.sync += [
                address_held.eq(0),
                data_held.eq(0),
                bus.bvalid.eq(1),
                bus.bresp.eq(Response.SLVERR),
            ]
        for register in self.map:
            with m.If(write & (write_index == register.offset >> 2)):
                with m.If(~self.locked if register.locked else 1):
                    m.d.sync += bus.bresp.eq(Response.OKAY)
                    self._write(m, register, write_data, strobe)
                    if register in stored:
                        m.d.comb += accepted.eq(1)
        return storing, copying

    def _reads(
        self, m: Module, copies: Ram, settling: Signal, storing: Signal, copying: Signal
    ) -> None:
        """The address is parked, then the copy is looked up, or the counters are asked."""
        bus = self.bus
        read, lookup, looking, looked, known = (Signal() for _ in range(5))
        read_index = Signal(ADDRESS_BITS - 2)
        counted, answered = Signal(), Signal()
        m.d.comb += [
            bus.arready.eq(~read & ~bus.rvalid & ~settling),
            # Not while it is written: a memory is not read and written at one address.
            lookup.eq(read & ~storing & ~copying & ~looking & ~looked),
            copies.read.eq(lookup | looking),
            copies.read_address.eq(read_index),
            copies.take.eq(looking),
            self.count_ask.eq(read & counted),
            self.count_place.eq(read_index),
            answered.eq(Mux(counted, self.count_there, looked)),
        ]
        m.d.sync += [looking.eq(lookup & ~counted), looked.eq(looking)]
        with m.If(bus.arvalid & bus.arready):
            place = bus.araddr[2:]
            m.d.sync += [
                read.eq(1),
                read_index.eq(place),
                counted.eq(place[_PLACE_BITS:] == RECORD_OFFSET >> 2 + _PLACE_BITS),
            ]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        late_other = Signal(32)
        m.d.sync += [
            late_other.eq(self._beside_copies(m, read_index)),
            known.eq(Cat(read_index == register.offset >> 2 for register in self.map).any()),
        ]
        with m.If(answered):
            m.d.sync += [read.eq(0), bus.rvalid.eq(1)]
            m.d.sync += [bus.rdata.eq(0), bus.rresp.eq(Response.SLVERR)]
            with m.If(known):
                m.d.sync += [
                    bus.rdata.eq(Mux(counted, self.count, copies.read_data | late_other)),
                    bus.rresp.eq(Response.OKAY),
                ]

    def _beside_copies(self, m: Module, read_index: Signal) -> Value:
        """Return what the machine changes of a register: chosen in one cycle, there in the next."""
        other: Value = Const(0, 32)
        for register in self.map:
            if register.access is Access.CLEAR:
                value = self._states[register.name]
            elif register.access is not Access.PULSE and register.name in self._live:
                value = getattr(self, register.name).as_value()
            else:
                continue
            chosen = Signal(name=f"chosen_{register.name}")
            m.d.sync += chosen.eq(read_index == register.offset >> 2)
            other |= Mux(chosen, value, 0)
        return other

    def _write(self, m: Module, register: Register, written: Value, strobe: Value) -> None:
        """Do what writing the bytes of ``written`` with a ``strobe`` does."""
        if register.access is Access.READ:
            return
        port = getattr(self, register.name)
        for part in register.fields:
            for byte in range(_BYTES):
                # Whole bytes under one condition: that is a clock enable, not a multiplexer.
                low = max(part.low, 8 * byte)
                high = min(part.low + part.width, 8 * (byte + 1))
                if low >= high:
                    continue
                with m.If(strobe[byte]):
                    if register.access is Access.CLEAR:
                        state = self._states[register.name][low:high]
                        kept = state & ~written[low:high]
                        m.d.sync += state.eq(kept | port.as_value()[low:high])
                    else:
                        m.d.sync += port.as_value()[low:high].eq(written[low:high])
