# SPDX-License-Identifier: Apache-2.0
"""The registers of register_map.py behind an AXI4-Lite port."""

from amaranth.hdl import Module, Signal, Value, ValueLike
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from hw.config import AcceleratorConfig
from hw.control.register_map import ADDRESS_BITS, Access, Register, RegisterMap
from hw.memory.axi import AXI4LiteSignature, Response

__all__ = ["RegisterFile", "register_layout"]

_BYTES = 4


def register_layout(register: Register) -> data.FlexibleLayout:
    """Return the fields of a register as a layout of 32 bits."""
    return data.FlexibleLayout(
        32, {part.name: data.Field(part.width, part.low) for part in register.fields}
    )


class RegisterFile(Component):
    """AXI4-Lite subordinate with a port for every register that is not constant.

    Write address and write data are taken in either order and independently; one write and one
    read are in progress at a time. A write answers two cycles after the later of its two halves, a
    read two cycles after its address; answers wait for the master. The two low address bits are
    ignored. Byte strobes are honoured everywhere.

    Answers: OKAY, also for writes to read-only registers (which have no effect). SLVERR, and
    reads as 0, for offsets without a register. SLVERR, without effect, for writes to a locked
    register while ``locked``.

    Parameters
    ----------
    cfg
        See ``RegisterMap``.

    Members
    -------
    bus : In(AXI4LiteSignature(12))
        The port.
    locked : In(1)
        A program runs.
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
            elif not register.constant:
                ports[register.name] = In(layout)
        super().__init__({
            "bus": In(AXI4LiteSignature(ADDRESS_BITS)),
            "locked": In(1),
            "interrupt": Out(1),
            **ports,
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.bus
        readable = self._storage(m)

        # Writes: the two halves are parked until both are there and the last answer is gone.
        address_held, data_held, write = Signal(), Signal(), Signal()
        write_index = Signal(ADDRESS_BITS - 2)
        write_data, strobe = Signal(32), Signal(_BYTES)
        m.d.comb += [
            bus.awready.eq(~address_held),
            bus.wready.eq(~data_held),
            write.eq(address_held & data_held & ~bus.bvalid),
        ]
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

        # Reads: cycle 1 parks the address, cycle 2 the answer.
        read, read_index = Signal(), Signal(ADDRESS_BITS - 2)
        m.d.comb += bus.arready.eq(~read & ~bus.rvalid)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [read.eq(1), read_index.eq(bus.araddr[2:])]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(read):
            m.d.sync += [read.eq(0), bus.rvalid.eq(1)]
            m.d.sync += [bus.rdata.eq(0), bus.rresp.eq(Response.SLVERR)]
            with m.Switch(read_index):
                for register, value in readable:
                    with m.Case(register.offset >> 2):
                        m.d.sync += [bus.rdata.eq(value), bus.rresp.eq(Response.OKAY)]
        return m

    def _storage(self, m: Module) -> list[tuple[Register, ValueLike]]:
        """Declare what changes by itself; return what each register reads as."""
        readable: list[tuple[Register, ValueLike]] = []
        for register in self.map:
            value: ValueLike = register.reset
            if register.access is Access.PULSE:
                m.d.sync += getattr(self, register.name).eq(0)
            elif register.access is Access.CLEAR:
                value = state = self._states[register.name]
                m.d.sync += state.eq(state | getattr(self, register.name).as_value())
                m.d.comb += self.interrupt.eq((state & self.interrupt_enable.as_value()).any())
            elif not register.constant:
                value = getattr(self, register.name).as_value()
            readable.append((register, value))
        return readable

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
