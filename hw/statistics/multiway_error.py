# SPDX-License-Identifier: Apache-2.0
"""The sums over a block that the error estimates of multi-way quantization are made of."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from kiwicha.hw.parts.lanes import register, tree, tree_depth
from kiwicha.hw.statistics.multiway_lane import LaneError
from kiwicha.machine.modes import BlockCriterion

__all__ = ["ErrorSums", "sums_layout"]


def sums_layout(ways: int, block: int, criterion: BlockCriterion) -> data.StructLayout:
    """Return the payload of a block's sums; those that ``criterion`` does not need have no bits.

    Members
    -------
    total : sum of the magnitudes ``|x|``.
    ways : for each way the sums ``distance`` of ``||x| - |q| 2^s|``, ``quantized`` of ``|q|``,
        ``cross`` of ``|x| |q|`` and ``square`` of ``q^2``, and the ``shift`` s.
    """
    l1 = criterion is BlockCriterion.L1
    bias = criterion in (BlockCriterion.BIAS, BlockCriterion.QEM)
    products = criterion in (BlockCriterion.L2, BlockCriterion.COSINE)
    way = data.StructLayout(
        {
            "distance": bits_for(block << 31) * l1,
            "quantized": bits_for(block << 7) * bias,
            "cross": bits_for(block << 38) * products,
            "square": bits_for(block << 14) * products,
            "shift": 5,
        }
    )
    return data.StructLayout(
        {"total": bits_for(block << 31) * bias, "ways": data.ArrayLayout(way, ways)}
    )


class ErrorSums(Component):
    """Takes a vector in every cycle with ``valid``; never waits.

    Parameters
    ----------
    lanes : elements a cycle, 1 to 64.
    ways : how many, at least 1.
    block : elements in the largest block; it determines all widths.
    criterion : what they are for; what serves other criteria is left out.

    Members
    -------
    valid : In(1); last : In(1), the vector ends its block.
    size : In(32 bits for each lane); the magnitudes, 0 where there is no element.
    q : In(signed 8 bits for each lane of each way), of those elements.
    shift : In(5 bits for each way).
    done : Out(1); a block ended ``latency`` cycles ago.
    sums : Out(sums_layout(...)); of that block.
    """

    def __init__(
        self, lanes: int, ways: int, block: int, criterion: BlockCriterion
    ) -> None:
        self.lanes, self.ways = lanes, ways
        self.layout = sums_layout(ways, block, criterion)
        super().__init__(
            {
                "valid": In(1),
                "last": In(1),
                "size": In(data.ArrayLayout(32, lanes)),
                "q": In(data.ArrayLayout(data.ArrayLayout(signed(8), lanes), ways)),
                "shift": In(data.ArrayLayout(5, ways)),
                "done": Out(1),
                "sums": Out(self.layout),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a block's last vector to its sums."""
        return 5 + tree_depth(self.lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        waits = self.latency - 1
        flags, ends, first = Signal(waits), Signal(waits), Signal(init=1)
        m.d.sync += [
            flags.eq(Cat(self.valid, flags)),
            ends.eq(Cat(self.valid & self.last, ends)),
            self.done.eq(ends[-1]),
        ]
        with m.If(flags[-1]):
            m.d.sync += first.eq(ends[-1])

        def gather(field: Value, values: list[Value], name: str) -> None:
            if not len(field):
                return
            joined = tree(m, values, lambda a, b: a + b, name)
            with m.If(flags[-1]):
                m.d.sync += field.eq(Mux(first, joined, field + joined))

        total = []
        for k in range(self.lanes):
            size = self.size[k]
            for stage in range(1, LaneError.latency + 1):
                size = register(m, size, f"s{stage}_size{k}")
            total.append(size)
        gather(self.sums.total, total, "total")
        for way in range(self.ways):
            sums, errors = self.sums.ways[way], []
            for k in range(self.lanes):
                m.submodules[f"error{way}_{k}"] = error = LaneError()
                m.d.comb += [
                    error.size.eq(self.size[k]),
                    error.q.eq(self.q[way][k]),
                    error.shift.eq(self.shift[way]),
                ]
                errors.append(error)
            for name in ("distance", "quantized", "cross", "square"):
                values = [getattr(error, name) for error in errors]
                gather(sums[name], values, f"{name}{way}")
            shift = self.shift[way]
            for stage in range(1, self.latency + 1):
                shift = register(m, shift, f"s{stage}_shift{way}")
            m.d.comb += sums.shift.eq(shift)
        return m
