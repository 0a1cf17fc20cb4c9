# SPDX-License-Identifier: Apache-2.0
"""Statistics of the blocks of an int32 stream, all of them at once, exact."""

from collections.abc import Callable

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from hw.statistics.lanes import magnitude, present, register, tree, tree_depth, vector_layout

__all__ = ["Statistics", "statistics_layout"]


def statistics_layout(block: int, bins: int = 33, histogram_bits: int = 0) -> data.StructLayout:
    """Return the payload with the statistics of a block of at most ``block`` elements.

    Members
    -------
    minimum, maximum : int32; magnitude : greatest absolute value, 32 bits unsigned.
    total, total_magnitude, total_square : sums of x, its magnitude and its square.
    count, zeros : elements, and those that are 0.
    histogram : entry b counts 2^(b - 1) <= magnitude < 2^b (b = 0: zeros), the last one also all
        greater ones; entries of ``histogram_bits`` bits (0: as many as needed) saturate.
    """
    if not 1 <= block <= 1 << 32:
        raise ValueError(f"block is {block}; legal: 1 to 2**32")
    if not 2 <= bins <= 33:
        raise ValueError(f"bins is {bins}; legal: 2 to 33")
    if not 0 <= histogram_bits <= 33:
        raise ValueError(f"histogram_bits is {histogram_bits}; legal: 0 to 33")
    counter = bits_for(block)
    return data.StructLayout(
        {
            "minimum": signed(32),
            "maximum": signed(32),
            "magnitude": unsigned(32),
            "total": signed(32 + bits_for(block - 1)),
            "total_magnitude": unsigned(bits_for(block << 31)),
            "total_square": unsigned(bits_for(block << 62)),
            "count": unsigned(counter),
            "zeros": unsigned(counter),
            "histogram": data.ArrayLayout(unsigned(min(histogram_bits, counter) or counter), bins),
        }
    )


class Statistics(Component):
    """Takes a vector a cycle and gives a block's statistics ``latency`` cycles after its last one.

    Blocks follow each other without a bubble, whatever their length; a consumer that does not take
    a result stops the input. A block longer than ``block`` wraps sums and counts.

    Parameters
    ----------
    lanes : elements a cycle, 1 to 64.
    block : elements in the largest block; it determines all widths.
    bins, histogram_bits : as for ``statistics_layout``.

    Members
    -------
    i : In(stream.Signature(vector_layout(lanes))); ``ready`` follows ``o.ready``.
    o : Out(stream.Signature(statistics_layout(...))).
    """

    def __init__(self, lanes: int, block: int, bins: int = 33, histogram_bits: int = 0) -> None:
        self.lanes = lanes
        self.block = block
        self.bins = bins
        self.layout = statistics_layout(block, bins, histogram_bits)
        super().__init__(
            {
                "i": In(stream.Signature(vector_layout(lanes))),
                "o": Out(stream.Signature(self.layout)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a block's last vector to its statistics."""
        return 4 + tree_depth(self.lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        enable = Signal()
        pipeline = _Pipeline(self)
        m.submodules.pipeline = EnableInserter(enable)(pipeline)
        m.d.comb += [
            enable.eq(~pipeline.done | self.o.ready),
            self.i.ready.eq(enable),
            pipeline.valid.eq(self.i.valid),
            pipeline.vector.eq(self.i.payload),
            self.o.valid.eq(pipeline.done),
            self.o.payload.eq(pipeline.result),
        ]
        return m


class _Pipeline(Component):
    """The arithmetic, without handshake."""

    def __init__(self, unit: Statistics) -> None:
        self.lanes = unit.lanes
        self.bins = unit.bins
        self.layout = unit.layout
        self.latency = unit.latency
        super().__init__(
            {
                "valid": In(1),
                "vector": In(vector_layout(unit.lanes)),
                "done": Out(1),
                "result": Out(unit.layout),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, vector = range(self.lanes), self.vector

        # Cycle 1: magnitudes. A lane without an element counts for nothing.
        here = [register(m, present(vector.last, vector.count, k), f"here{k}") for k in lanes]
        value = [register(m, vector.lanes[k], f"value{k}") for k in lanes]
        size = [register(m, magnitude(vector.lanes[k]), f"size{k}") for k in lanes]

        # Cycle 2: what the trees join; of the square, three partial products.
        low, high = -(1 << 31), (1 << 31) - 1

        def leaves(make: Callable[[int], Value], name: str) -> list[Value]:
            return [register(m, make(k), f"{name}{k}") for k in lanes]

        sizes = leaves(lambda k: Mux(here[k], size[k], 0), "masked")
        minima = leaves(lambda k: Mux(here[k], value[k], high).as_signed(), "minima")
        maxima = leaves(lambda k: Mux(here[k], value[k], low).as_signed(), "maxima")
        totals = leaves(lambda k: Mux(here[k], value[k], 0).as_signed(), "totals")
        counted = leaves(lambda k: here[k], "counted")
        bins = leaves(lambda k: self._bins(size[k]) & here[k].replicate(33), "bins")
        a = leaves(lambda k: size[k][:16] * size[k][:16], "low_low")
        b = leaves(lambda k: size[k][:16] * size[k][16:], "low_high")
        c = leaves(lambda k: size[k][16:] * size[k][16:], "high_high")

        # Cycle 3: the square; everything else waits.
        def later(values: list[Value], name: str) -> list[Value]:
            return [register(m, v, f"{name}{k}_d") for k, v in enumerate(values)]

        present_3 = later(counted, "counted")
        squares = [
            register(m, Mux(present_3_in, (Cat(a[k], c[k]) + (b[k] << 17))[:63], 0), f"square{k}")
            for k, present_3_in in enumerate(counted)
        ]
        sizes, minima = later(sizes, "masked"), later(minima, "minima")
        maxima, totals = later(maxima, "maxima"), later(totals, "totals")
        bins = later(bins, "bins")

        # The trees, then one more cycle to join with what came before.
        def smaller(a: Value, b: Value) -> Value:
            return Mux(a < b, a, b)

        def greater(a: Value, b: Value) -> Value:
            return Mux(a < b, b, a)

        def plus(a: Value, b: Value) -> Value:
            return a + b

        flags = Signal(self.latency - 1)
        ends = Signal(self.latency - 1)
        m.d.sync += [
            flags.eq(Cat(self.valid, flags)),
            ends.eq(Cat(self.valid & vector.last, ends)),
            self.done.eq(ends[-1]),
        ]
        first = Signal(init=1)
        with m.If(flags[-1]):
            m.d.sync += first.eq(ends[-1])

        def gather(
            field: Value, values: list[Value], join: Callable[[Value, Value], Value], name: str
        ) -> None:
            joined = tree(m, values, join, name)
            with m.If(flags[-1]):
                m.d.sync += field.eq(Mux(first, joined, join(field, joined)))

        result = self.result
        gather(result.minimum, minima, smaller, "minimum")
        gather(result.maximum, maxima, greater, "maximum")
        gather(result.magnitude, sizes, greater, "magnitude")
        gather(result.total, totals, plus, "total")
        gather(result.total_magnitude, sizes, plus, "total_magnitude")
        gather(result.total_square, squares, plus, "total_square")
        gather(result.count, present_3, plus, "count")
        gather(result.zeros, [hot[0] for hot in bins], plus, "zeros")
        for place in range(self.bins):
            top = 33 if place == self.bins - 1 else place + 1
            entry = result.histogram[place]

            def saturating(a: Value, b: Value, entry: Value = entry) -> Value:
                total = a + b
                return Mux(total[len(entry) :].any(), (1 << len(entry)) - 1, total)

            gather(entry, [hot[place:top].any() for hot in bins], saturating, f"bin{place}")
        return m

    @staticmethod
    def _bins(size: Value) -> Value:
        """Return one bit for each bit length, 0 to 32, of which one is set."""
        above = [size[k:].any() for k in range(33)]
        return Cat(~above[0], *(above[k] & ~above[k + 1] for k in range(32)))
