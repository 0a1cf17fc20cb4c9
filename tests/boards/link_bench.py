# SPDX-License-Identifier: Apache-2.0
"""The link without its serial port: bytes in and out, and all that it does in between."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from kiwicha.boards.link.commands import CommandExecutor, byte_write
from kiwicha.boards.link.format import Identity
from kiwicha.boards.link.receive import FrameReceiver
from kiwicha.boards.link.transmit import FrameTransmitter
from kiwicha.hw.parts.axi import AXI4LiteSignature
from kiwicha.machine.register_map import ADDRESS_BITS

__all__ = ["LinkBench"]


class LinkBench(Component):
    """Receiver, executor and transmitter, as `boards.link.link` joins them.

    Members
    -------
    i, o : streams of bytes
    believed : Out(1)
        A frame with the right CRC is in the buffer.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        super().__init__({
            "i": In(stream.Signature(8, always_ready=True)),
            "o": Out(stream.Signature(8)),
            "write": Out(stream.Signature(byte_write(identity.memory_bytes))),
            "read": Out(stream.Signature(ceil_log2(identity.memory_bytes))),
            "fetched": In(stream.Signature(8, always_ready=True)),
            "bus": Out(AXI4LiteSignature(ADDRESS_BITS)),
            "interrupt": In(1),
            "believed": Out(1),
        })
        self.receiver = FrameReceiver(identity.payload_bytes)
        self.executor = CommandExecutor(identity)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = self.receiver
        m.submodules.executor = executor = self.executor
        m.submodules.transmitter = transmitter = FrameTransmitter()
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, receiver.frame, executor.frame)
        wiring.connect(m, executor.reply, transmitter.i)
        wiring.connect(m, transmitter.o, wiring.flipped(self.o))
        wiring.connect(m, executor.write, wiring.flipped(self.write))
        wiring.connect(m, executor.read, wiring.flipped(self.read))
        wiring.connect(m, wiring.flipped(self.fetched), executor.fetched)
        wiring.connect(m, executor.bus, wiring.flipped(self.bus))
        m.d.comb += [
            receiver.address.eq(executor.address),
            executor.data.eq(receiver.data),
            executor.interrupt.eq(self.interrupt),
            self.believed.eq(receiver.frame.valid & receiver.frame.payload.good),
        ]
        return m
