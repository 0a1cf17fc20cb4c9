# SPDX-License-Identifier: Apache-2.0
"""The whole link in hardware: two wires on one side, memory and registers on the other."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from kiwicha.boards.link.commands import CommandExecutor, byte_write
from kiwicha.boards.link.format import Identity
from kiwicha.boards.link.receive import FrameReceiver
from kiwicha.boards.link.transmit import FrameTransmitter
from kiwicha.boards.link.uart import UartReceiver, UartTransmitter
from kiwicha.hw.parts.axi import AXI4LiteSignature
from kiwicha.machine.register_map import ADDRESS_BITS

__all__ = ["SerialLink"]


class SerialLink(Component):
    """Carries out what comes over a serial port; see `boards.link.format`.

    Parameters
    ----------
    identity : what the board says of itself.
    divisor : clock cycles of a bit on the wire.

    Members
    -------
    rx : In(1), tx : Out(1)
        The serial port.
    write, read, fetched, bus, interrupt : see `CommandExecutor`.
    """

    def __init__(self, identity: Identity, divisor: int) -> None:
        self.identity = identity
        self.divisor = divisor
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "write": Out(stream.Signature(byte_write(identity.memory_bytes))),
            "read": Out(stream.Signature(ceil_log2(identity.memory_bytes))),
            "fetched": In(stream.Signature(8, always_ready=True)),
            "bus": Out(AXI4LiteSignature(ADDRESS_BITS)),
            "interrupt": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.uart_rx = uart_rx = UartReceiver(self.divisor)
        m.submodules.uart_tx = uart_tx = UartTransmitter(self.divisor)
        m.submodules.receiver = receiver = FrameReceiver(self.identity.payload_bytes)
        m.submodules.transmitter = transmitter = FrameTransmitter()
        m.submodules.executor = executor = CommandExecutor(self.identity)
        wiring.connect(m, uart_rx.o, receiver.i)
        wiring.connect(m, receiver.frame, executor.frame)
        wiring.connect(m, executor.reply, transmitter.i)
        wiring.connect(m, transmitter.o, uart_tx.i)
        wiring.connect(m, executor.write, wiring.flipped(self.write))
        wiring.connect(m, executor.read, wiring.flipped(self.read))
        wiring.connect(m, wiring.flipped(self.fetched), executor.fetched)
        wiring.connect(m, executor.bus, wiring.flipped(self.bus))
        m.d.comb += [
            uart_rx.rx.eq(self.rx),
            self.tx.eq(uart_tx.tx),
            receiver.address.eq(executor.address),
            executor.data.eq(receiver.data),
            executor.interrupt.eq(self.interrupt),
        ]
        return m
