# SPDX-License-Identifier: Apache-2.0
"""Statistics of an int32 stream, all of them at once, exact."""

from collections.abc import Callable

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from kiwicha.hw.parts.lanes import magnitude, register, tree, tree_depth

__all__ = ["Statistics", "statistics_layout", "statistics_step"]

_BINS = 33


def statistics_step(lanes: int) -> data.StructLayout:
    """Return the payload of ``lanes`` int32 values at a time.

    Members
    -------
    values : the values, the first in lane 0.
    present : a bit for each lane that holds one.
    begin : the statistics start anew with this vector.
    """
    if not 1 <= lanes <= 64:
        raise ValueError(f"lanes is {lanes}; legal: 1 to 64")
    values = data.ArrayLayout(signed(32), lanes)
    return data.StructLayout({"values": values, "present": lanes, "begin": 1})


def statistics_layout(lanes: int, block: int) -> data.StructLayout:
    """Return the statistics of at most ``block`` elements, ``lanes`` of which come at a time.

    The members are those of ``machine.isa.STATISTICS_RECORD``, in its order, as wide as they need
    to be.
    """
    if block < 1 or block & (block - 1) or block > 1 << 30:
        raise ValueError(f"block is {block}; legal: a power of two, 1 to 2**30")
    # Three vectors may come behind those that fit until the counters are held at 0.
    counter = bits_for(block + 4 * lanes)
    return data.StructLayout({
        "minimum": signed(32),
        "maximum": signed(32),
        "magnitude": unsigned(32),
        "total": signed(32 + bits_for(block - 1)),
        "total_magnitude": unsigned(bits_for(block << 31)),
        "total_square": unsigned(bits_for(block << 62)),
        "count": unsigned(counter),
        "histogram": data.ArrayLayout(unsigned(counter), _BINS),
        "overflow": unsigned(1),
    })


class Statistics(Component):
    """Takes a vector in every cycle; its elements are in ``result`` ``latency`` cycles later.

    Everything is 0 before the first element. Where more than ``block`` elements come without a
    ``begin``, ``overflow`` is 1 and all else 0 until there is one.

    Parameters
    ----------
    lanes : elements a cycle, 1 to 64.
    block : elements whose statistics fit, a power of two; it determines all widths.

    Members
    -------
    i : In(always-ready stream of statistics_step(lanes))
    result : Out(statistics_layout(lanes, block))
    """

    def __init__(self, lanes: int, block: int) -> None:
        self.lanes, self.block = lanes, block
        super().__init__({
            "i": In(stream.Signature(statistics_step(lanes), always_ready=True)),
            "result": Out(statistics_layout(lanes, block)),
        })

    @property
    def latency(self) -> int:
        """Cycles from a vector to the statistics with it; the last two are for the overflow."""
        return 4 + tree_depth(self.lanes) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, step = range(self.lanes), self.i.payload

        # Cycle 1: magnitudes. A lane without an element counts for nothing.
        here = [register(m, step.present[k], f"here{k}") for k in lanes]
        value = [register(m, step["values"][k], f"value{k}") for k in lanes]
        size = [register(m, magnitude(step["values"][k]), f"size{k}") for k in lanes]

        # Cycle 2: what the trees join; of the square, three partial products.
        low, high = -(1 << 31), (1 << 31) - 1

        def leaves(make: Callable[[int], Value], name: str) -> list[Value]:
            return [register(m, make(k), f"{name}{k}") for k in lanes]

        sizes = leaves(lambda k: Mux(here[k], size[k], 0), "masked")
        minima = leaves(lambda k: Mux(here[k], value[k], high).as_signed(), "minima")
        maxima = leaves(lambda k: Mux(here[k], value[k], low).as_signed(), "maxima")
        totals = leaves(lambda k: Mux(here[k], value[k], 0).as_signed(), "totals")
        counted = leaves(lambda k: here[k], "counted")
        bins = leaves(lambda k: _bins(size[k]) & here[k].replicate(_BINS), "bins")
        a = leaves(lambda k: size[k][:16] * size[k][:16], "low_low")
        b = leaves(lambda k: size[k][:16] * size[k][16:], "low_high")
        c = leaves(lambda k: size[k][16:] * size[k][16:], "high_high")

        # Cycle 3: the square; everything else waits.
        def later(values: list[Value], name: str) -> list[Value]:
            return [register(m, v, f"{name}{k}_d") for k, v in enumerate(values)]

        squares = [
            register(m, Mux(counts, (Cat(a[k], c[k]) + (b[k] << 17))[:63], 0), f"square{k}")
            for k, counts in enumerate(counted)
        ]
        sizes, minima = later(sizes, "masked"), later(minima, "minima")
        maxima, totals = later(maxima, "maxima"), later(totals, "totals")
        counted, bins = later(counted, "counted"), later(bins, "bins")

        # The trees, then one more cycle to join with what came before.
        waits = 3 + tree_depth(self.lanes)
        arrived, begins = Signal(waits), Signal(waits)
        m.d.sync += [
            arrived.eq(Cat(self.i.valid, arrived)),
            begins.eq(Cat(self.i.valid & step.begin, begins)),
        ]
        result, empty, load = self.result, Signal(init=1), Signal()
        m.d.comb += load.eq(arrived[-1] & (begins[-1] | empty))
        with m.If(arrived[-1]):
            m.d.sync += empty.eq(0)
        with m.If(load):
            m.d.sync += result.overflow.eq(0)
        with m.Elif(result.count > self.block):
            m.d.sync += result.overflow.eq(1)

        def smaller(a: Value, b: Value) -> Value:
            return Mux(a < b, a, b)

        def greater(a: Value, b: Value) -> Value:
            return Mux(a < b, b, a)

        def plus(a: Value, b: Value) -> Value:
            return a + b

        def gather(
            field: Value, values: list[Value], join: Callable[[Value, Value], Value], name: str
        ) -> None:
            joined = tree(m, values, join, name)
            with m.If(load):
                m.d.sync += field.eq(joined)
            with m.Elif(result.overflow):
                m.d.sync += field.eq(0)
            with m.Elif(arrived[-1]):
                m.d.sync += field.eq(join(field, joined))

        gather(result.minimum, minima, smaller, "minimum")
        gather(result.maximum, maxima, greater, "maximum")
        gather(result.magnitude, sizes, greater, "magnitude")
        gather(result.total, totals, plus, "total")
        gather(result.total_magnitude, sizes, plus, "total_magnitude")
        gather(result.total_square, squares, plus, "total_square")
        gather(result.count, counted, plus, "count")
        for place in range(_BINS):
            gather(result.histogram[place], [hot[place] for hot in bins], plus, f"bin{place}")
        return m


def _bins(size: Value) -> Value:
    """Return one bit for each bit length, 0 to 32, of which one is set."""
    above = [size[k:].any() for k in range(_BINS)]
    return Cat(~above[0], *(above[k] & ~above[k + 1] for k in range(_BINS - 1)))
