# SPDX-License-Identifier: Apache-2.0
"""Bytes from the wire become checked frames in a buffer; nothing is believed before its CRC."""

from amaranth.hdl import Module, Signal
from amaranth.lib import crc, data, stream
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from kiwicha.boards.link.format import CRC_BYTES, ESCAPE, FLAG, FLIP, HEADER_BYTES
from kiwicha.hw.parts.ram import block_ram

__all__ = ["FrameReceiver", "frame_shape"]


def frame_shape(payload_bytes: int) -> data.StructLayout:
    """Return what is said of a received frame.

    ``good``: its CRC is right. ``length``: bytes in the buffer without the CRC, if it is good.
    """
    return data.StructLayout({"good": 1, "length": range(HEADER_BYTES + payload_bytes + 1)})


class FrameReceiver(Component):
    """Takes a frame out of the bytes between two flags and checks it as a whole.

    While a frame waits in the buffer all bytes are dropped, and after it those before the next
    flag. Between flags, less than the shortest frame is taken for noise and dropped in silence.

    Latency: one cycle from the closing flag to ``frame``.

    Parameters
    ----------
    payload_bytes : most data bytes of a frame.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
        Bytes from the wire.
    frame : Out(stream.Signature(frame_shape(payload_bytes)))
        A frame that ended, good or not. Taking it gives the buffer away.
    address : In, data : Out(8)
        Reads the buffer while ``frame`` waits: the byte comes a cycle after its address.
    """

    def __init__(self, payload_bytes: int) -> None:
        self.payload_bytes = payload_bytes
        self.capacity = HEADER_BYTES + payload_bytes + CRC_BYTES
        super().__init__({
            "i": In(stream.Signature(8, always_ready=True)),
            "frame": Out(stream.Signature(frame_shape(payload_bytes))),
            "address": In(ceil_log2(self.capacity)),
            "data": Out(8),
        })
        # Also for proofs, which go by them from one cycle to the next.
        self.checker = crc.Processor(CRC32_ISO_HDLC(data_width=8))
        self.count = Signal(range(self.capacity + 1))
        self.hunting, self.escaped, self.spoilt = Signal(init=1), Signal(), Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = checker = self.checker
        m.submodules.buffer = buffer = block_ram(8, 1 << ceil_log2(self.capacity))
        write, read = buffer.write_port(), buffer.read_port()
        count, hunting, escaped, spoilt = self.count, self.hunting, self.escaped, self.spoilt
        byte = Signal(8)
        collect = Signal()
        m.d.comb += [
            byte.eq(self.i.payload ^ (escaped << FLIP.bit_length() - 1)),
            write.addr.eq(count),
            write.data.eq(byte),
            write.en.eq(collect & (count != self.capacity)),
            checker.data.eq(byte),
            checker.valid.eq(collect),
            read.addr.eq(self.address),
            self.data.eq(read.data),
        ]
        with m.If(self.frame.valid):
            with m.If(self.frame.ready):
                m.d.sync += self.frame.valid.eq(0)
            m.d.sync += hunting.eq(1)
        with m.Elif(self.i.valid & (self.i.payload == FLAG)):
            m.d.comb += checker.start.eq(1)
            m.d.sync += [
                hunting.eq(0),
                escaped.eq(0),
                spoilt.eq(0),
                count.eq(0),
                self.frame.valid.eq(~hunting & (count >= HEADER_BYTES + CRC_BYTES)),
                self.frame.payload.good.eq(checker.match_detected & ~spoilt & ~escaped),
                self.frame.payload.length.eq(count - CRC_BYTES),
            ]
        with m.Elif(self.i.valid & ~hunting):
            with m.If((self.i.payload == ESCAPE) & ~escaped):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.comb += collect.eq(1)
                m.d.sync += escaped.eq(0)
                with m.If(count == self.capacity):
                    m.d.sync += spoilt.eq(1)
                with m.Else():
                    m.d.sync += count.eq(count + 1)
        return m
