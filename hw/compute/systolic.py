# SPDX-License-Identifier: Apache-2.0
"""A weight-stationary systolic array of any size, with double-buffered weights.

The arithmetic is ``golden/systolic.py``; the arrangement is that of Kung and Leiserson, Systolic
Arrays (for VLSI), 1978, with the weights staying and the partial sums moving down.
"""

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.compute.multiplier import multiplier_class
from kiwicha.hw.compute.multiplier_base import OPERAND
from kiwicha.hw.compute.processing_element import PSUM, ProcessingElement, psum_width
from kiwicha.hw.compute.skew import Skew
from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.verilog.emit import shared
from kiwicha.machine.latency import WEIGHT_GROUP, multiplier_latency
from kiwicha.machine.modes import CellFamily

__all__ = ["SystolicArray", "SystolicRow", "WeightPath"]

class SystolicRow(wiring.Component):
    """One row of processing elements.

    Parameters
    ----------
    columns : processing elements.
    multiplier : what their multipliers are made of.
    width : bits of their partial sums.
    depthwise : whether columns may have operands of their own.

    Members
    -------
    activation, switch : enter element 0 and reach element c in c cycles.
    weight, load : one weight for every element, taken when its bit of ``load`` is high.
    psum_in, psum_out : one for every element; see ``ProcessingElement`` for the timing.
    own, down : an operand for every element, taken where ``down`` is high, which enters element 0
        as ``activation`` does; only with ``depthwise``.
    """

    def __init__(
        self,
        columns: int,
        multiplier: CellFamily = CellFamily.GENERIC,
        width: int = PSUM.width,
        *,
        depthwise: bool = False,
    ) -> None:
        self.columns = columns
        self.multiplier = multiplier
        self.width = width
        self.depthwise = depthwise
        super().__init__({
            "activation": In(OPERAND),
            "switch": In(1),
            "weight": In(OPERAND).array(columns),
            "load": In(self.columns),
            "psum_in": In(signed(width)).array(columns),
            "psum_out": Out(signed(width)).array(columns),
            **({"own": In(OPERAND).array(columns), "down": In(1)} if depthwise else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        activation, switch = self.activation, self.switch
        down = self.down if self.depthwise else None
        for column in range(self.columns):
            element = ProcessingElement(self.multiplier, self.width, depthwise=self.depthwise)
            m.submodules[f"element_{column}"] = shared(element)
            m.d.comb += [
                element.activation.eq(activation),
                element.switch.eq(switch),
                element.weight.eq(self.weight[column]),
                element.load.eq(self.load[column]),
                element.psum_in.eq(self.psum_in[column]),
                self.psum_out[column].eq(element.psum_out),
            ]
            activation, switch = element.activation_out, element.switch_out
            if down is not None:
                m.d.comb += [element.own.eq(self.own[column]), element.down.eq(down)]
                down = element.down_out
        return m


class WeightPath(wiring.Component):
    """Brings rows of weights to the columns, in groups of ``WEIGHT_GROUP``.

    A weight row goes to a bus along all array rows, and the one it is for loads it. Reset loads
    zeros everywhere, so that rows which are never loaded hold 0 and not something undefined.
    A group whose last column is c is max(0, c + 1 - WEIGHT_GROUP) cycles later than column 0: its
    first column has its weights in time, its last one keeps the tile before for long enough.
    Later would do for the last one, but takes more registers.

    Latency: one cycle and that.

    Parameters
    ----------
    rows, columns : of the array.

    Members
    -------
    i : In(always-ready stream): as ``SystolicArray.weight``.
    bus : Out: a weight for every column.
    load : Out(rows).array(columns): which array row takes it.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.rows = rows
        self.columns = columns
        weights = data.StructLayout({"lanes": data.ArrayLayout(OPERAND, columns), "first": 1})
        super().__init__({
            "i": In(stream.Signature(weights, always_ready=True)),
            "bus": Out(OPERAND).array(columns),
            "load": Out(rows).array(columns),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        longest = max(0, self.columns - WEIGHT_GROUP)
        valids, firsts = Signal(longest), Signal(longest, reset_less=True)
        valid, first = Cat(self.i.valid, valids), Cat(self.i.payload.first, firsts)
        m.d.sync += [valids.eq(valid), firsts.eq(first)]
        for begin in range(0, self.columns, WEIGHT_GROUP):
            group = range(begin, min(begin + WEIGHT_GROUP, self.columns))
            late = max(0, group[-1] - WEIGHT_GROUP + 1)
            delay = Delay(data.ArrayLayout(OPERAND, len(group)), late)
            m.submodules[f"delay_{begin}"] = delay
            m.d.comb += [delay.i[k].eq(self.i.payload.lanes[c]) for k, c in enumerate(group)]
            # `last` remembers, through gaps, which row came last.
            load = Signal(self.rows, init=-1, name=f"load_{begin}")
            last = Signal(self.rows, name=f"last_{begin}")
            chosen = Cat(first[late], last[:-1] & ~first[late].replicate(self.rows - 1))
            m.d.sync += load.eq(0)
            with m.If(valid[late]):
                m.d.sync += [load.eq(chosen), last.eq(chosen)]
            for k, column in enumerate(group):
                m.d.sync += self.bus[column].eq(delay.o[k])
                m.d.comb += self.load[column].eq(load)
        return m


class SystolicArray(wiring.Component):
    """Multiplies vectors of ``rows`` activations by a ``rows`` x ``columns`` tile of weights.

    A vector a cycle, without back-pressure. The vector accepted in cycle t gives its sum of column
    c in ``psum[c]`` in cycle t + ``latency`` + c, and only then; the columns are not aligned again.

    Two tiles of weights are held. A tile is loaded row by row while the vectors are multiplied by
    the one before it; the vector that carries ``switch``, and all that follow, are multiplied by
    it. With row r of a tile presented in cycle s + r, the vector with ``switch`` may come from
    cycle s + ``switch_after`` on; with that vector in cycle t, row 0 of the next tile may come from
    cycle t + ``reload_after`` on, which is at most WEIGHT_GROUP - 2 because weights reach the
    columns skewed, as vectors do. Gaps between the rows of a tile are legal and delay the first
    limit by their length. A row that a tile does not load keeps its weights from the tile before;
    after reset it holds 0.

    With ``depthwise`` a vector may be filtered: column c multiplies lane c alone, which all its
    rows see at once, while sums move on from row to row. So the sum of a vector has row r's product
    of the vector r cycles later, which has to be there (design B1 of Kung, Why Systolic
    Architectures?, 1982, with a filter in every column). Columns beyond the last lane multiply 0.

    Inputs feed multipliers without a register in between: drive them from registers.

    Parameters
    ----------
    rows, columns : 1 to 128.
    multiplier : what the multipliers are made of.
    depthwise : whether vectors may be filtered.
    latency : cycles, rows + multiplier latency.
    switch_after, reload_after : cycles, see above.

    Members
    -------
    i : In(always-ready stream): a vector; ``switch`` marks the first one for the loaded tile. With
        ``depthwise`` also ``filter``, and ``down``, a bit for each row: those that multiply then.
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
        multiplier: CellFamily = CellFamily.GENERIC,
        depthwise: bool = False,
    ) -> None:
        for name, value in (("rows", rows), ("columns", columns)):
            if not 1 <= value <= 128:
                raise ValueError(f"{name} is {value}; legal: 1 to 128")
        self.rows = rows
        self.columns = columns
        self.multiplier = multiplier
        self.depthwise = depthwise
        product = multiplier_class(multiplier).latency
        require_stated("a multiplier's latency", product, multiplier_latency(multiplier))
        self.latency = rows + product
        self.switch_after = 2
        self.reload_after = max(0, min(columns, WEIGHT_GROUP) - 2)
        vector = data.StructLayout({
            "lanes": data.ArrayLayout(OPERAND, rows), "switch": 1,
            **({"filter": 1, "down": rows} if depthwise else {}),
        })
        weights = data.StructLayout({"lanes": data.ArrayLayout(OPERAND, columns), "first": 1})
        super().__init__({
            "i": In(stream.Signature(vector, always_ready=True)),
            "weight": In(stream.Signature(weights, always_ready=True)),
            "psum": Out(data.ArrayLayout(PSUM, columns)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not self.depthwise:
            m.submodules.skew = skew = Skew(OPERAND, self.rows)
        # A sum of a few products is narrow: so are the registers and adders that it passes.
        rows = [
            SystolicRow(
                self.columns, self.multiplier, psum_width(r + 1), depthwise=self.depthwise
            )
            for r in range(self.rows)
        ]
        if self.depthwise:
            lanes = self._filter(m, rows)
        else:
            m.d.comb += skew.i.eq(self.i.payload.lanes)
            lanes = [skew.o[r] for r in range(self.rows)]

        m.submodules.weights = weights = WeightPath(self.rows, self.columns)
        wiring.connect(m, wiring.flipped(self.weight), weights.i)

        switch = self.i.valid & self.i.payload.switch
        for r, row in enumerate(rows):
            m.submodules[f"row_{r}"] = shared(row)
            m.d.comb += [
                row.activation.eq(lanes[r]),
                row.switch.eq(switch),
                row.load.eq(Cat(weights.load[c][r] for c in range(self.columns))),
            ]
            m.d.comb += [row.weight[c].eq(weights.bus[c]) for c in range(self.columns)]
            if r:
                above = rows[r - 1].psum_out
                m.d.comb += [row.psum_in[c].eq(above[c]) for c in range(self.columns)]
            if r + 1 < self.rows:
                later = Signal(name=f"switch_{r}", reset_less=True)
                m.d.sync += later.eq(switch)
                switch = later
        m.d.comb += [self.psum[c].eq(rows[-1].psum_out[c]) for c in range(self.columns)]
        return m

    def _filter(self, m: Module, rows: list[SystolicRow]) -> list[Value]:
        """Give every column its lane; return what enters the rows.

        A lane's last register is there twice: for its row it is cleared, which takes no logic.
        """
        i = self.i.payload
        word = data.StructLayout({"lane": OPERAND, "filter": 1, "down": 1})
        words = [Signal(word, name=f"word_{r}") for r in range(self.rows)]
        for r, entering in enumerate(words):
            m.d.comb += [
                entering.lane.eq(i.lanes[r]),
                entering.filter.eq(i.filter),
                entering.down.eq(i.down[r]),
            ]
        m.submodules.skew = skew = Skew(word, max(1, self.rows - 1))
        own, left = [], []
        for r, row in enumerate(rows):
            lane, cleared = (
                Signal(OPERAND, name=f"{name}_{r}", reset_less=True) for name in ("own", "left")
            )
            down = Signal(name=f"down_{r}", reset_less=True)
            late, domain = words[0], m.d.comb
            if r:
                late, domain = skew.o[r - 1], m.d.sync
                m.d.comb += skew.i[r - 1].eq(words[r])
            domain += [lane.eq(late.lane), cleared.eq(late.lane), down.eq(late.down)]
            with m.If(late.filter):
                domain += cleared.eq(0)
            m.d.comb += row.down.eq(down)
            own.append(lane)
            left.append(cleared)
        for row in rows:
            m.d.comb += [port.eq(lane) for port, lane in zip(row.own, own, strict=False)]
        return left
