# SPDX-License-Identifier: Apache-2.0
"""A first-in first-out queue in a synchronous memory, with stream ports."""

from amaranth.hdl import Cat, Module, Shape, ShapeLike, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import block_ram, ram_class
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import CellFamily

__all__ = ["Queue"]

_ROW = 16  # entries of a row of distributed RAM
_BLOCK_BITS = 1024


class Queue(Component):
    """Holds ``depth`` entries in memory and one more in the memory's output register.

    Throughput one entry a cycle; latency two cycles through an empty queue. The memory is read
    synchronously and never read and written at one address in a cycle: it maps to block RAM, and
    does so where distributed RAM would take more than one row of it. Block RAM may have a further
    register behind it, since it is slow: one entry more, and one cycle.

    Parameters
    ----------
    shape : payload of both streams.
    depth : entries, a power of two, at least 2.
    registered : whether there is a register behind it; left out, there is one if it is block RAM by
        its size.
    cells : what memory with a register behind it is made of.

    Members
    -------
    i, o : In, Out(stream.Signature(shape))
        ``i.ready`` is a register output; it does not see ``o.ready`` of the same cycle.
    empty : Out(1)
        Nothing is held here.
    """

    def __init__(
        self,
        shape: ShapeLike,
        depth: int,
        *,
        registered: bool | None = None,
        cells: CellFamily = CellFamily.GENERIC,
    ) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; legal: a power of two, at least 2")
        self.shape = shape
        self.depth = depth
        self.registered = _large(shape, depth) if registered is None else registered
        self.cells = cells
        #: The memory's output register holds an entry.
        self._there = Signal(name="there")
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "empty": Out(1),
        })

    @classmethod
    def of_machine(cls, cfg: AcceleratorConfig, shape: ShapeLike, depth: int) -> "Queue":
        """Return a queue made of a machine's cells, with the registers that it has for queues."""
        registered = "queue" in cfg.pipeline and _large(shape, depth)
        return cls(shape, depth, registered=registered, cells=cfg.cells)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = exact_log2(self.depth)
        written, fetched = Signal(bits), Signal(bits)
        # Entries in the memory; the bit on top says that it is full.
        level = Signal(bits + 1)
        put, get = Signal(), Signal()
        there, move = self._there, Signal()
        m.d.comb += [
            self.i.ready.eq(~level[-1]),
            put.eq(self.i.valid & self.i.ready),
            get.eq((level != 0) & (~there | move)),
            self.empty.eq((level == 0) & ~there & ~self.o.valid),
        ]
        with m.If(put):
            m.d.sync += written.eq(written + 1)
        with m.If(get):
            m.d.sync += fetched.eq(fetched + 1)
        with m.If(put ^ get):
            m.d.sync += level.eq(level + Cat(1, get.replicate(bits)))
        with m.If(get):
            m.d.sync += there.eq(1)
        with m.Elif(move):
            m.d.sync += there.eq(0)
        width = Shape.cast(self.shape).width
        payload = Value.cast(self.o.payload)
        if self.registered:
            m.submodules.memory = ram = ram_class(self.cells)(width, self.depth)
            m.d.comb += [
                ram.write.eq(put),
                ram.write_address.eq(written),
                ram.write_data.eq(self.i.payload),
                # `take` needs it; what a move without `get` reads is never looked at.
                ram.read.eq(get | move),
                ram.read_address.eq(fetched),
                ram.take.eq(move),
                payload.eq(ram.read_data),
                move.eq(~self.o.valid | self.o.ready),
            ]
            with m.If(move):
                m.d.sync += self.o.valid.eq(there)
        else:
            m.submodules.memory = memory = block_ram(width, self.depth)
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(put),
                write.addr.eq(written),
                write.data.eq(self.i.payload),
                read.en.eq(get),
                read.addr.eq(fetched),
                payload.eq(read.data),
                self.o.valid.eq(there),
                move.eq(self.o.ready),
            ]
        return m


def _large(shape: ShapeLike, depth: int) -> bool:
    """Return whether synthesis makes block RAM of it: distributed RAM would take several rows."""
    return depth > _ROW and depth * Shape.cast(shape).width >= _BLOCK_BITS
