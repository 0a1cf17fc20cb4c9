# SPDX-License-Identifier: Apache-2.0
"""A first-in first-out queue in a synchronous memory, with stream ports."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

__all__ = ["Queue"]


class Queue(Component):
    """Holds ``depth`` entries in memory and one more in the memory's output register.

    Throughput one entry a cycle; latency two cycles through an empty queue. The memory is read
    synchronously and never read and written at one address in a cycle: it maps to block RAM.

    Parameters
    ----------
    shape
        Payload of both streams.
    depth
        Entries, a power of two, at least 2.

    Members
    -------
    i, o : In, Out(stream.Signature(shape))
        ``i.ready`` is a register output; it does not see ``o.ready`` of the same cycle.
    empty : Out(1)
        Nothing is held here.
    """

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; legal: a power of two, at least 2")
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "empty": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        # One bit more than an address, so that full and empty differ.
        bits = exact_log2(self.depth) + 1
        written, fetched = Signal(bits), Signal(bits)
        full, put, get = Signal(), Signal(), Signal()
        level_after = Signal(bits)
        m.d.comb += [
            self.i.ready.eq(~full),
            put.eq(self.i.valid & self.i.ready),
            get.eq((written != fetched) & (~self.o.valid | self.o.ready)),
            level_after.eq(written - fetched + put - get),
            write.en.eq(put),
            write.addr.eq(written[:-1]),
            write.data.eq(self.i.payload),
            read.en.eq(get),
            read.addr.eq(fetched[:-1]),
            self.o.payload.eq(read.data),
            self.empty.eq((written == fetched) & ~self.o.valid),
        ]
        m.d.sync += [
            full.eq(level_after == self.depth),
            written.eq(written + put),
            fetched.eq(fetched + get),
        ]
        with m.If(get):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
