# SPDX-License-Identifier: Apache-2.0
"""Holds the vectors of a block until the block's scale is known, and sends them out with it."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.queue import Queue

__all__ = ["BlockBuffer"]


class BlockBuffer(Component):
    """A ping-pong buffer without fixed halves: one block leaves while the next ones enter.

    The vectors lie in one ring, so that short blocks do not waste half a buffer each. Blocks and
    scales are matched by order. One vector a cycle on both sides.

    Parameters
    ----------
    vector : shape of a vector.
    scale : shape of a scale.
    depth : vectors in the ring, a power of two, at least a block's.
    blocks : how many blocks with a last vector may be here at once, at least 1.

    Members
    -------
    i : In(stream of {vector, last}); ``ready`` does not see ``o.ready`` of the same cycle.
    scale : In(stream of scale): one for each block, in order; taken with its last vector.
    o : Out(stream of {vector, last, scale}).
    """

    def __init__(self, vector: ShapeLike, scale: ShapeLike, depth: int, blocks: int) -> None:
        if blocks < 1:
            raise ValueError(f"blocks is {blocks}; legal: at least 1")
        self.blocks = blocks
        self._entry = data.StructLayout({"vector": vector, "last": 1})
        self._queue = Queue(self._entry, depth)
        super().__init__(
            {
                "i": In(stream.Signature(self._entry)),
                "scale": In(stream.Signature(scale)),
                "o": Out(
                    stream.Signature(
                        data.StructLayout({"vector": vector, "last": 1, "scale": scale})
                    )
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = self._queue
        held = Signal(range(self.blocks + 1))
        room, entered, left = Signal(), Signal(), Signal()
        m.d.comb += [
            room.eq(held != self.blocks),
            queue.i.payload.eq(self.i.payload),
            queue.i.valid.eq(self.i.valid & room),
            self.i.ready.eq(queue.i.ready & room),
            self.o.valid.eq(queue.o.valid & self.scale.valid),
            self.o.payload.vector.eq(queue.o.payload.vector),
            self.o.payload.last.eq(queue.o.payload.last),
            self.o.payload.scale.eq(self.scale.payload),
            queue.o.ready.eq(self.scale.valid & self.o.ready),
            self.scale.ready.eq(queue.o.valid & self.o.ready & queue.o.payload.last),
            entered.eq(self.i.valid & self.i.ready & self.i.payload.last),
            left.eq(self.scale.valid & self.scale.ready),
        ]
        m.d.sync += held.eq(held + entered - left)
        return m
