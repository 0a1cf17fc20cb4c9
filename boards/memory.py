# SPDX-License-Identifier: Apache-2.0
"""On-chip memory behind an AXI4 port, with a side door for single bytes."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import ReadPort, WritePort
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.boards.link.commands import byte_write
from kiwicha.hw.parts.axi import AXI4Signature, Response
from kiwicha.hw.parts.ram import block_ram

__all__ = ["AxiMemory"]


class AxiMemory(Component):
    """AXI4 subordinate in block RAM, for managers that send whole-beat INCR bursts.

    Reads and writes run side by side, a beat a cycle each and without a gap between bursts if the
    next address is there in time. First read beat three cycles after its address; the response two
    cycles after the last beat written. What lies beyond the memory is answered with DECERR and not
    written. A beat that is read while it is written may come out as anything.

    The side door takes a cycle whenever AXI leaves one: writes when no beat is written, reads when
    no burst is being read.

    Parameters
    ----------
    address_width, data_width : of the port, in bits.
    memory_bytes : a power of two.

    Members
    -------
    axi : In(AXI4Signature(address_width, data_width))
        Sizes and burst types are ignored; answers come in order, whatever their identifiers.
    write : In(stream.Signature(byte_write(memory_bytes)))
        Bytes to write.
    read : In(stream.Signature(address)), fetched : Out(stream.Signature(8, always_ready=True))
        Bytes to read; each comes two cycles after its address is taken.
    """

    def __init__(self, address_width: int, data_width: int, memory_bytes: int) -> None:
        if memory_bytes & (memory_bytes - 1) or not 2 * data_width <= 8 * memory_bytes:
            raise ValueError(f"memory_bytes is {memory_bytes}; legal: a power of two, two beats up")
        if memory_bytes > 1 << address_width:
            raise ValueError(f"memory_bytes is {memory_bytes}; legal: up to {1 << address_width}")
        self.address_width, self.data_width = address_width, data_width
        self.memory_bytes = memory_bytes
        super().__init__({
            "axi": In(AXI4Signature(address_width, data_width)),
            "write": In(stream.Signature(byte_write(memory_bytes))),
            "read": In(stream.Signature(exact_log2(memory_bytes))),
            "fetched": Out(stream.Signature(8, always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = self.data_width // 8
        m.submodules.memory = memory = block_ram(self.data_width, self.memory_bytes // beat)
        self._reads(m, memory.read_port(), exact_log2(beat))
        self._writes(m, memory.write_port(granularity=8), exact_log2(beat))
        return m

    def _bursts(self, m: Module, channel: str, step: Value, low: int) -> data.View:
        """Take addresses, one ahead; return the burst under way, which ``step`` moves a beat on."""
        axi = self.axi
        shape = data.StructLayout({
            "valid": 1, "id": 1, "beat": self.address_width - low, "left": 8,
        })
        now, following = Signal(shape, name=f"{channel}_now"), Signal(shape, name=f"{channel}_next")
        ready = getattr(axi, f"{channel}ready")
        valid = getattr(axi, f"{channel}valid")
        m.d.comb += ready.eq(~following.valid)
        with m.If(valid & ready):
            m.d.sync += [
                following.valid.eq(1),
                following.id.eq(getattr(axi, f"{channel}id")),
                following.beat.eq(getattr(axi, f"{channel}addr")[low:]),
                following.left.eq(getattr(axi, f"{channel}len")),
            ]
        with m.If(step):
            m.d.sync += [now.beat.eq(now.beat + 1), now.left.eq(now.left - 1)]
        with m.If(~now.valid | (step & (now.left == 0))):
            m.d.sync += now.eq(following)
            with m.If(following.valid):
                m.d.sync += following.valid.eq(0)
        return now

    def _beyond(self, beat: Value, low: int) -> Value:
        """Whether a beat lies behind the memory's end."""
        above = beat[exact_log2(self.memory_bytes) - low :]
        return above.any() if len(above) else Const(0)

    def _reads(self, m: Module, port: ReadPort, low: int) -> None:
        axi, index = self.axi, exact_log2(self.memory_bytes) - low
        step, held = Signal(), Signal()
        held_last, held_beyond, held_id = Signal(), Signal(), Signal()
        burst = self._bursts(m, "ar", step, low)
        aside, lane = Signal(), Signal(low)
        leaves = ~axi.rvalid | axi.rready  # the beat on the bus, if there is one
        m.d.comb += [
            step.eq(burst.valid & (~held | leaves)),
            self.read.ready.eq(~burst.valid & ~held),
            port.en.eq(step | (self.read.valid & self.read.ready)),
            port.addr.eq(burst.beat[:index]),
        ]
        with m.If(~burst.valid):
            m.d.comb += port.addr.eq(self.read.payload[low:])
        # A second register, because block RAM is slow and what takes the beats is not near.
        with m.If(leaves):
            m.d.sync += [
                axi.rvalid.eq(held),
                axi.rdata.eq(port.data),
                axi.rlast.eq(held_last),
                axi.rid.eq(held_id),
                axi.rresp.eq(Mux(held_beyond, Response.DECERR, Response.OKAY)),
            ]
        with m.If(step):
            m.d.sync += [
                held.eq(1),
                held_last.eq(burst.left == 0),
                held_id.eq(burst.id),
                held_beyond.eq(self._beyond(burst.beat, low)),
            ]
        with m.Elif(leaves):
            m.d.sync += held.eq(0)
        m.d.sync += [
            aside.eq(self.read.valid & self.read.ready),
            lane.eq(self.read.payload[:low]),
            self.fetched.valid.eq(aside),
            self.fetched.payload.eq(port.data.word_select(lane, 8)),
        ]

    def _writes(self, m: Module, port: WritePort, low: int) -> None:
        axi, index = self.axi, exact_log2(self.memory_bytes) - low
        step, beyond, failed = Signal(), Signal(), Signal()
        burst = self._bursts(m, "aw", step, low)
        m.d.comb += [
            axi.wready.eq(burst.valid & (~axi.bvalid | axi.bready)),
            step.eq(axi.wvalid & axi.wready),
            self.write.ready.eq(~step),
            beyond.eq(self._beyond(burst.beat, low)),
        ]
        m.d.sync += port.en.eq(0)
        with m.If(step):
            m.d.sync += [
                port.addr.eq(burst.beat[:index]),
                port.data.eq(axi.wdata),
                port.en.eq(axi.wstrb & ~beyond.replicate(len(axi.wstrb))),
                failed.eq(~axi.wlast & (failed | beyond)),
            ]
        with m.Elif(self.write.valid):
            m.d.sync += [
                port.addr.eq(self.write.payload.address[low:]),
                port.data.eq(self.write.payload.data.replicate(1 << low)),
                port.en.eq(1 << self.write.payload.address[:low]),
            ]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(step & axi.wlast):
            m.d.sync += [
                axi.bvalid.eq(1),
                axi.bid.eq(burst.id),
                axi.bresp.eq(Mux(failed | beyond, Response.DECERR, Response.OKAY)),
            ]
