# SPDX-License-Identifier: Apache-2.0
"""A weight-stationary systolic array of any size, with double-buffered weights.

The arithmetic is ``golden/systolic.py``; the arrangement is that of Kung and Leiserson, Systolic
Arrays (for VLSI), 1978, with the weights staying and the partial sums moving down.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.array.multiplier import OPERAND, multiplier_class
from hw.array.processing_element import PSUM, ProcessingElement
from hw.array.skew import Skew
from hw.config import MultiplierTarget
from hw.emit import shared

__all__ = ["SystolicArray", "SystolicRow"]


class SystolicRow(wiring.Component):
    """One row of processing elements.

    Parameters
    ----------
    columns : processing elements.
    multiplier : what their multipliers are made of.

    Members
    -------
    activation, switch : enter element 0 and reach element c in c cycles.
    weight, load : one weight for every element, taken by all when ``load`` is high.
    psum_in, psum_out : one for every element; see ``ProcessingElement`` for the timing.
    """

    def __init__(
        self, columns: int, multiplier: MultiplierTarget = MultiplierTarget.GENERIC
    ) -> None:
        self.columns = columns
        self.multiplier = multiplier
        super().__init__({
            "activation": In(OPERAND),
            "switch": In(1),
            "weight": In(OPERAND).array(columns),
            "load": In(1),
            "psum_in": In(PSUM).array(columns),
            "psum_out": Out(PSUM).array(columns),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        activation, switch = self.activation, self.switch
        for column in range(self.columns):
            element = ProcessingElement(self.multiplier)
            m.submodules[f"element_{column}"] = shared(element)
            m.d.comb += [
                element.activation.eq(activation),
                element.switch.eq(switch),
                element.weight.eq(self.weight[column]),
                element.load.eq(self.load),
                element.psum_in.eq(self.psum_in[column]),
                self.psum_out[column].eq(element.psum_out),
            ]
            activation, switch = element.activation_out, element.switch_out
        return m


class SystolicArray(wiring.Component):
    """Multiplies vectors of ``rows`` activations by a ``rows`` x ``columns`` tile of weights.

    A vector a cycle, without back-pressure. The vector accepted in cycle t gives its sum of column
    c in ``psum[c]`` in cycle t + ``latency`` + c, and only then; the columns are not aligned again.

    Two tiles of weights are held. A tile is loaded row by row while the vectors are multiplied by
    the one before it; the vector that carries ``switch``, and all that follow, are multiplied by
    it. With row r of a tile presented in cycle s + r, the vector with ``switch`` may come from
    cycle s + ``switch_after`` on; with that vector in cycle t, row 0 of the next tile may come from
    cycle t + ``reload_after`` on. Gaps between the rows of a tile are legal and delay the first
    limit by their length. A row that a tile does not load keeps its weights from the tile before;
    after reset it holds 0.

    Inputs feed multipliers without a register in between: drive them from registers.

    Parameters
    ----------
    rows, columns : 1 to 64.
    multiplier : what the multipliers are made of.
    latency : cycles, rows + multiplier latency.
    switch_after, reload_after : cycles, see above.

    Members
    -------
    i : In(always-ready stream): a vector; ``switch`` marks the first one for the loaded tile.
    weight : In(always-ready stream): a row of weights; ``first`` marks row 0 of a tile, every
        further word is the next row.
    psum : Out: int32 sums that wrap, skewed by column.

    Raises
    ------
    ValueError
        For rows or columns outside their range, or an unknown multiplier.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        multiplier: MultiplierTarget = MultiplierTarget.GENERIC,
    ) -> None:
        for name, value in (("rows", rows), ("columns", columns)):
            if not 1 <= value <= 64:
                raise ValueError(f"{name} is {value}; legal: 1 to 64")
        self.rows = rows
        self.columns = columns
        self.multiplier = multiplier
        self.latency = rows + multiplier_class(multiplier).latency
        self.switch_after = 2
        self.reload_after = max(0, columns - 2)
        vector = data.StructLayout({"lanes": data.ArrayLayout(OPERAND, rows), "switch": 1})
        weights = data.StructLayout({"lanes": data.ArrayLayout(OPERAND, columns), "first": 1})
        super().__init__({
            "i": In(stream.Signature(vector, always_ready=True)),
            "weight": In(stream.Signature(weights, always_ready=True)),
            "psum": Out(data.ArrayLayout(PSUM, columns)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.skew = skew = Skew(OPERAND, self.rows)
        rows = [SystolicRow(self.columns, self.multiplier) for _ in range(self.rows)]
        m.d.comb += skew.i.eq(self.i.payload.lanes)

        # A weight row goes to a bus along all array rows, and the one it is for loads it. `last`
        # remembers, through gaps, which one came last. Reset loads zeros everywhere, so that rows
        # which are never loaded hold 0 and not something undefined.
        bus = [Signal(OPERAND, name=f"bus_{column}") for column in range(self.columns)]
        load = Signal(self.rows, init=-1)
        last = Signal(self.rows)
        first = self.weight.payload.first
        chosen = Cat(first, last[:-1] & ~first.replicate(self.rows - 1))
        m.d.sync += load.eq(0)
        with m.If(self.weight.valid):
            m.d.sync += [load.eq(chosen), last.eq(chosen)]
        m.d.sync += [bus[c].eq(self.weight.payload.lanes[c]) for c in range(self.columns)]

        switch = self.i.valid & self.i.payload.switch
        for r, row in enumerate(rows):
            m.submodules[f"row_{r}"] = shared(row)
            m.d.comb += [
                row.activation.eq(skew.o[r]),
                row.switch.eq(switch),
                row.load.eq(load[r]),
            ]
            m.d.comb += [row.weight[c].eq(bus[c]) for c in range(self.columns)]
            if r:
                above = rows[r - 1].psum_out
                m.d.comb += [row.psum_in[c].eq(above[c]) for c in range(self.columns)]
            if r + 1 < self.rows:
                later = Signal(name=f"switch_{r}", reset_less=True)
                m.d.sync += later.eq(switch)
                switch = later
        m.d.comb += [self.psum[c].eq(rows[-1].psum_out[c]) for c in range(self.columns)]
        return m
