# SPDX-License-Identifier: Apache-2.0
"""A serial port of eight data bits, no parity and one stop bit: wire to bytes and back."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, In, Out

__all__ = ["SMALLEST_DIVISOR", "UartReceiver", "UartTransmitter"]

SMALLEST_DIVISOR = 4
"""Cycles of a bit that the receiver needs to find its middle."""


def _check(divisor: int) -> None:
    if not SMALLEST_DIVISOR <= divisor < 1 << 16:
        raise ValueError(f"divisor is {divisor}; legal: {SMALLEST_DIVISOR} to 65535")


class UartReceiver(Component):
    """Bytes from a wire.

    A bit is sampled once, in its middle. A byte whose stop bit is low is dropped: whoever counts
    or checks the bytes will notice; the next begins when the wire has been high again. Nothing
    waits: a byte that is not taken at once is lost.

    Parameters
    ----------
    divisor : clock cycles of a bit, 4 to 65535.

    Members
    -------
    rx : In(1)
        The wire, high when idle; it may change at any time.
    o : Out(stream.Signature(8, always_ready=True))
    """

    def __init__(self, divisor: int) -> None:
        _check(divisor)
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8, always_ready=True))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)
        timer = Signal(range(self.divisor))
        bits = Signal(range(10))  # still to come, the stop bit included; 0: none
        shift = Signal(8)
        starting, broken = Signal(), Signal()
        m.d.comb += self.o.payload.eq(shift)
        m.d.sync += self.o.valid.eq(0)
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(starting):
            # The middle of the start bit: noise shorter than that begins nothing.
            m.d.sync += [starting.eq(0), timer.eq(self.divisor - 1)]
            with m.If(~rx):
                m.d.sync += bits.eq(9)
        with m.Elif(bits != 0):
            m.d.sync += [bits.eq(bits - 1), timer.eq(self.divisor - 1)]
            with m.If(bits == 1):
                m.d.sync += [self.o.valid.eq(rx), broken.eq(~rx), timer.eq(0)]
            with m.Else():
                m.d.sync += shift.eq(Cat(shift[1:], rx))
        with m.Elif(rx):
            m.d.sync += broken.eq(0)
        with m.Elif(~broken):
            m.d.sync += [starting.eq(1), timer.eq(max(0, self.divisor // 2 - 2))]
        return m


class UartTransmitter(Component):
    """Bytes to a wire, one after the other without a gap.

    Parameters
    ----------
    divisor : clock cycles of a bit, 4 to 65535.

    Members
    -------
    i : In(stream.Signature(8))
    tx : Out(1)
        The wire, a register output; high when idle.
    """

    def __init__(self, divisor: int) -> None:
        _check(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self.divisor))
        bits = Signal(range(11))
        shift = Signal(9, init=0x1FF)
        last = Signal()
        m.d.comb += [
            last.eq((timer == 0) & (bits <= 1)),
            self.i.ready.eq(last),
        ]
        with m.If(self.i.valid & last):
            m.d.sync += [
                self.tx.eq(0),
                shift.eq(Cat(self.i.payload, 1)),
                bits.eq(10),
                timer.eq(self.divisor - 1),
            ]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits != 0):
            m.d.sync += [
                bits.eq(bits - 1),
                self.tx.eq(shift[0]),
                shift.eq(Cat(shift[1:], 1)),
                timer.eq(self.divisor - 1),
            ]
        return m
