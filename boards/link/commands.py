# SPDX-License-Identifier: Apache-2.0
"""Carries out the frames that were received whole, each once, and answers every one."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from kiwicha.boards.link.format import CRC_BYTES, HEADER_BYTES, IDENTITY, Command, Identity, Status
from kiwicha.boards.link.receive import frame_shape
from kiwicha.boards.link.transmit import REPLY_BYTE
from kiwicha.hw.parts.axi import AXI4LiteSignature
from kiwicha.machine.register_map import ADDRESS_BITS

__all__ = ["CommandExecutor", "byte_write"]

_HEADER = data.StructLayout({"command": 8, "sequence": 8, "count": 16, "address": 32})
assert _HEADER.size == 8 * HEADER_BYTES
_WORD = 4  # bytes of a register


def byte_write(memory_bytes: int) -> data.StructLayout:
    """Return a byte and where in memory it goes."""
    return data.StructLayout({"address": ceil_log2(memory_bytes), "data": 8})


class CommandExecutor(Component):
    """Does what `boards.link.format` says, a byte at a time: the wire is slower than that.

    A request with the expected sequence number is carried out, and the next number is expected. The
    one before, with the same command, is answered again: what it reads is read again, what it
    writes is not written again. IDENTIFY has no number. Anything else has no effect.

    Parameters
    ----------
    identity : what IDENTIFY answers; says also how long frames and memory are.

    Members
    -------
    frame : In(stream.Signature(frame_shape(payload_bytes)))
        Held until the reply is gone; ``address`` and ``data`` read its buffer.
    address : Out, data : In(8)
        See `FrameReceiver`.
    reply : Out(stream.Signature(REPLY_BYTE))
    write : Out(stream.Signature(byte_write(memory_bytes)))
        Bytes for the memory.
    read : Out(stream.Signature(address)), fetched : In(stream.Signature(8, always_ready=True))
        Bytes from memory; each request is answered once, before the next.
    bus : Out(AXI4LiteSignature(12))
        The machine's registers.
    interrupt : In(1)
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        payload = identity.payload_bytes
        super().__init__({
            "frame": In(stream.Signature(frame_shape(payload))),
            "address": Out(ceil_log2(HEADER_BYTES + payload + CRC_BYTES)),
            "data": In(8),
            "reply": Out(stream.Signature(REPLY_BYTE)),
            "write": Out(stream.Signature(byte_write(identity.memory_bytes))),
            "read": Out(stream.Signature(ceil_log2(identity.memory_bytes))),
            "fetched": In(stream.Signature(8, always_ready=True)),
            "bus": Out(AXI4LiteSignature(ADDRESS_BITS)),
            "interrupt": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        header = Signal(_HEADER)
        index = Signal(len(self.address) + 1)  # bytes of the frame or of the reply's data
        status = Signal(Status)
        expected, last = Signal(8), Signal(8, init=Command.IDENTIFY)
        last_status = Signal(Status)
        word = Signal(8 * _WORD)
        fits, agrees, repeated = Signal(), Signal(), Signal()
        kind = {command: Signal(name=f"is_{command.name.lower()}") for command in Command}
        m.d.comb += [
            *(flag.eq(header.command == command) for command, flag in kind.items()),
            self.address.eq(index),
            self.write.payload.address.eq(header.address),
            self.write.payload.data.eq(self.data),
            self.read.payload.eq(header.address),
            self.bus.awaddr.eq(header.address),
            self.bus.araddr.eq(header.address),
            self.bus.wdata.eq(word),
            self.bus.wstrb.eq(~0),
        ]
        # Data are counted from HEADER_BYTES up, those of a reply as well.
        answered, following = Signal(), Signal.like(index)
        m.d.comb += [
            following.eq(index + 1),
            answered.eq(following == header.count + HEADER_BYTES),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += index.eq(0)
                with m.If(self.frame.valid & self.frame.payload.good):
                    m.next = "HEADER"
                with m.Elif(self.frame.valid):
                    m.d.sync += [status.eq(Status.DAMAGED), header.eq(0)]
                    m.next = "REPLY"
            with m.State("HEADER"):
                m.d.sync += [
                    index.eq(following),
                    header.eq(Cat(header.as_value()[8:], self.data)),
                ]
                with m.If(index == HEADER_BYTES):
                    m.next = "CHECK"
            with m.State("CHECK"):
                self._check(m, header, kind, fits, agrees)
                m.d.sync += [
                    index.eq(HEADER_BYTES),
                    repeated.eq((header.sequence + 1)[:8] == expected),
                ]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                sends = kind[Command.WRITE] | kind[Command.WRITE_REGISTERS]
                m.d.sync += status.eq(Status.OK)
                m.next = "REPLY"
                with m.If(~agrees):
                    m.d.sync += status.eq(Status.MALFORMED)
                with m.Elif(~fits):
                    m.d.sync += status.eq(Status.OUT_OF_RANGE)
                with m.Elif(header.sequence == expected):
                    with m.If(~kind[Command.IDENTIFY]):
                        m.d.sync += [
                            expected.eq(expected + 1),
                            last.eq(header.command),
                            last_status.eq(Status.OK),
                        ]
                    with m.If(sends & (header.count != 0)):
                        m.next = "FETCH"
                    with m.Elif(kind[Command.WAIT]):
                        m.next = "WAIT"
                with m.Elif(repeated & (header.command == last)):
                    m.d.sync += status.eq(last_status)
                with m.Elif(~kind[Command.IDENTIFY]):
                    m.d.sync += status.eq(Status.OUT_OF_ORDER)
            self._writes(m, header, kind, index, word, answered, status, last_status)
            with m.State("WAIT"):
                m.d.sync += header.address.eq(header.address - 1)
                with m.If(self.interrupt | (header.address == 0)):
                    m.next = "REPLY"
            self._replies(m, header, kind, index, word, answered, status, expected)
        return m

    def _check(
        self, m: Module, header: data.View, kind: dict[Command, Signal], fits: Signal,
        agrees: Signal,
    ) -> None:
        """Register whether the fields agree with each other, and lie within what there is."""
        registers = kind[Command.READ_REGISTERS] | kind[Command.WRITE_REGISTERS]
        memory = kind[Command.READ] | kind[Command.WRITE]
        sends = kind[Command.WRITE] | kind[Command.WRITE_REGISTERS]
        end = header.address + header.count
        sent = Mux(sends, header.count, 0)
        m.d.sync += [
            agrees.eq(
                Cat(*kind.values()).any()
                & (self.frame.payload.length == sent + HEADER_BYTES)
                & (header.count <= self.identity.payload_bytes)
                & ~(registers & (header.address[:2] | header.count[:2]).any())
            ),
            fits.eq(
                ~(memory & (end > self.identity.memory_bytes))
                & ~(registers & (end > 1 << ADDRESS_BITS))
            ),
        ]

    def _writes(
        self, m: Module, header: data.View, kind: dict[Command, Signal], index: Signal,
        word: Signal, answered: Value, status: Signal, last_status: Signal,
    ) -> None:
        """Carry out a write: a byte from the buffer, then to memory, or four to a register."""
        bus = self.bus

        with m.State("FETCH"):  # the buffer reads
            m.next = "TAKE"
        with m.State("TAKE"):
            m.d.sync += word.eq(Cat(word[8:], self.data))
            m.d.comb += self.write.valid.eq(kind[Command.WRITE])
            with m.If(kind[Command.WRITE]):
                with m.If(self.write.ready):
                    m.d.sync += [index.eq(index + 1), header.address.eq(header.address + 1)]
                    m.next = "FETCH"
                    with m.If(answered):
                        m.next = "REPLY"
            with m.Elif(index[:2] != _WORD - 1):
                m.d.sync += index.eq(index + 1)
                m.next = "FETCH"
            with m.Else():
                m.d.sync += [bus.awvalid.eq(1), bus.wvalid.eq(1)]
                m.next = "REGISTER"
        with m.State("REGISTER"):
            m.d.comb += bus.bready.eq(1)
            with m.If(bus.awready):
                m.d.sync += bus.awvalid.eq(0)
            with m.If(bus.wready):
                m.d.sync += bus.wvalid.eq(0)
            with m.If(bus.bvalid):
                m.d.sync += header.address.eq(header.address + _WORD)
                m.d.sync += index.eq(index + 1)
                m.next = "FETCH"
                with m.If(bus.bresp[1]):
                    m.d.sync += [status.eq(Status.REFUSED), last_status.eq(Status.REFUSED)]
                    m.next = "REPLY"
                with m.Elif(answered):
                    m.next = "REPLY"

    def _replies(
        self, m: Module, header: data.View, kind: dict[Command, Signal], index: Signal,
        word: Signal, answered: Value, status: Signal, expected: Signal,
    ) -> None:
        """Send the reply, reading what it is to hold."""
        bus, reply = self.bus, self.reply
        sent = Signal()
        m.d.comb += sent.eq(reply.valid & reply.ready)
        identity = Array(Const(byte, 8) for byte in self.identity.pack())
        first = Signal(2)
        with m.State("REPLY"):
            m.d.comb += [
                reply.valid.eq(1),
                reply.payload.data.eq(
                    Array((header.command, header.sequence, expected, 0))[first]
                ),
            ]
            with m.If(sent):
                m.d.sync += [first.eq(first + 1), index.eq(HEADER_BYTES)]
                with m.If(first == 2):
                    m.d.sync += first.eq(0)
                    m.next = "STATUS"
                    with m.If(status == Status.OK):
                        with m.If(kind[Command.IDENTIFY]):
                            m.d.sync += index.eq(0)
                            m.next = "IDENTITY"
                        with m.Elif(kind[Command.WAIT]):
                            m.d.sync += word.eq(self.interrupt)
                            m.next = "INTERRUPT"
                        with m.Elif(kind[Command.READ] & (header.count != 0)):
                            m.next = "READ"
                        with m.Elif(kind[Command.READ_REGISTERS] & (header.count != 0)):
                            m.d.sync += bus.arvalid.eq(1)
                            m.next = "READ REGISTER"
        with m.State("IDENTITY"):
            m.d.comb += [reply.valid.eq(1), reply.payload.data.eq(identity[index[:5]])]
            with m.If(sent):
                m.d.sync += index.eq(index + 1)
                with m.If(index == IDENTITY.size - 1):
                    m.next = "STATUS"
        with m.State("INTERRUPT"):
            m.d.comb += [reply.valid.eq(1), reply.payload.data.eq(word[0])]
            with m.If(sent):
                m.next = "STATUS"
        with m.State("READ"):
            m.d.comb += self.read.valid.eq(1)
            with m.If(self.read.ready):
                m.next = "FETCHED"
        with m.State("FETCHED"):
            with m.If(self.fetched.valid):
                m.d.sync += [word.eq(self.fetched.payload), header.address.eq(header.address + 1)]
                m.next = "BYTE"
        with m.State("READ REGISTER"):
            m.d.comb += bus.rready.eq(1)
            with m.If(bus.arready):
                m.d.sync += bus.arvalid.eq(0)
            with m.If(bus.rvalid):
                m.d.sync += [word.eq(bus.rdata), header.address.eq(header.address + _WORD)]
                with m.If(bus.rresp[1]):
                    m.d.sync += status.eq(Status.REFUSED)
                m.next = "BYTE"
        with m.State("BYTE"):
            m.d.comb += [reply.valid.eq(1), reply.payload.data.eq(word[:8])]
            with m.If(sent):
                m.d.sync += [word.eq(word[8:]), index.eq(index + 1)]
                with m.If(answered):
                    m.next = "STATUS"
                with m.Elif(kind[Command.READ]):
                    m.next = "READ"
                with m.Elif(index[:2] == _WORD - 1):
                    m.d.sync += bus.arvalid.eq(1)
                    m.next = "READ REGISTER"
        with m.State("STATUS"):
            m.d.comb += [
                reply.valid.eq(1),
                reply.payload.data.eq(status),
                reply.payload.last.eq(1),
            ]
            with m.If(sent):
                m.next = "DONE"
        with m.State("DONE"):
            m.d.comb += self.frame.ready.eq(1)
            m.next = "IDLE"
