# SPDX-License-Identifier: Apache-2.0
"""The greatest magnitude of every block of a stream of int32 vectors."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.lanes import magnitude, present, register, tree, tree_depth, vector_layout

__all__ = ["BlockMaximum"]


class BlockMaximum(Component):
    """Takes a vector in every cycle with ``valid``; never waits.

    Parameters
    ----------
    lanes : elements a cycle, 1 to 64.

    Members
    -------
    valid : In(1); vector : In(vector_layout(lanes)); last : In(1), the vector ends its block.
    done : Out(1); a block ended ``latency`` cycles ago.
    magnitude : Out(32); its greatest absolute value, up to 2^31.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "valid": In(1),
                "vector": In(vector_layout(lanes)),
                "last": In(1),
                "done": Out(1),
                "magnitude": Out(32),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a block's last vector to ``done``."""
        return 2 + tree_depth(self.lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        vector, sizes = self.vector, []
        for k in range(self.lanes):
            here = present(vector.last, vector.count, k)
            sizes.append(register(m, Mux(here, magnitude(vector.lanes[k]), 0), f"size{k}"))
        top = tree(m, sizes, lambda a, b: Mux(a < b, b, a), "top")
        waits = self.latency - 1
        flags, ends = Signal(waits), Signal(waits)
        greatest, so_far = Signal(32), Signal(32)
        m.d.comb += greatest.eq(Mux(top > so_far, top, so_far))
        m.d.sync += [
            flags.eq(Cat(self.valid, flags)),
            ends.eq(Cat(self.valid & self.last, ends)),
            self.done.eq(ends[-1]),
            self.magnitude.eq(greatest),
        ]
        with m.If(flags[-1]):
            m.d.sync += so_far.eq(Mux(ends[-1], 0, greatest))
        return m
