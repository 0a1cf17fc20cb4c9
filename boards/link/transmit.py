# SPDX-License-Identifier: Apache-2.0
"""Bytes become frames on the wire: flags, escapes and the CRC are added on the way."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import crc, data, stream
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import Component, In, Out

from kiwicha.boards.link.format import CRC_BYTES, ESCAPE, FLAG, FLIP

__all__ = ["REPLY_BYTE", "FrameTransmitter"]

REPLY_BYTE = data.StructLayout({"data": 8, "last": 1})
"""A byte of a frame's content, and whether it is the last before the CRC."""


class FrameTransmitter(Component):
    """Sends each byte as it comes; nothing is stored. A byte that is escaped takes two cycles.

    Members
    -------
    i : In(stream.Signature(REPLY_BYTE))
        Contents of frames, at least one byte each.
    o : Out(stream.Signature(8))
        Bytes for the wire.
    """

    i: In(stream.Signature(REPLY_BYTE))
    o: Out(stream.Signature(8))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = checker = crc.Processor(CRC32_ISO_HDLC(data_width=8))
        escaped = Signal()
        byte, special, done = Signal(8), Signal(), Signal()
        index = Signal(range(CRC_BYTES))
        m.d.comb += [
            special.eq(((byte == FLAG) | (byte == ESCAPE)) & ~escaped),
            # A byte of the content is through when what follows its escape, if any, is taken.
            done.eq(self.o.valid & self.o.ready & ~special),
            checker.data.eq(byte),
        ]
        with m.FSM():
            with m.State("OPEN"):
                m.d.comb += [
                    self.o.valid.eq(self.i.valid),
                    self.o.payload.eq(FLAG),
                    checker.start.eq(1),
                ]
                with m.If(self.i.valid & self.o.ready):
                    m.next = "CONTENT"
            with m.State("CONTENT"):
                m.d.comb += [
                    byte.eq(self.i.payload.data),
                    self.o.valid.eq(self.i.valid),
                    self.i.ready.eq(done),
                    checker.valid.eq(done),
                ]
                self._send(m, byte, special, escaped)
                with m.If(done & self.i.payload.last):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [
                    byte.eq(checker.crc.word_select(index, 8)),
                    self.o.valid.eq(1),
                ]
                self._send(m, byte, special, escaped)
                with m.If(done):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == CRC_BYTES - 1):
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(FLAG)]
                with m.If(self.o.ready):
                    m.next = "OPEN"
        return m

    def _send(self, m: Module, byte: Signal, special: Signal, escaped: Signal) -> None:
        """Offer ``byte``, or first the escape that it needs."""
        flip = byte ^ (escaped << FLIP.bit_length() - 1)
        m.d.comb += self.o.payload.eq(Mux(special, ESCAPE, flip))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += escaped.eq(special)
