# SPDX-License-Identifier: Apache-2.0
"""Multi-way quantization: every block in several ways at once, and the best of them goes out.

After Cambricon-Q (ISCA 2021): the error of each way is estimated while a block is quantized.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.lanes import magnitude, present, register, vector_layout
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.statistics.block_buffer import BlockBuffer
from kiwicha.hw.statistics.block_maximum import BlockMaximum
from kiwicha.hw.statistics.multiway_arbiter import Arbiter, choice_layout
from kiwicha.hw.statistics.multiway_error import ErrorSums
from kiwicha.hw.statistics.multiway_lane import WayLane
from kiwicha.machine.modes import BlockCriterion, BlockRounding
from kiwicha.machine.scales import QEM_THRESHOLD

__all__ = ["MultiwayQuantize", "chosen_layout"]

#: Blocks in front of the ways at most, and as many behind them while their way is looked for.
_BLOCKS = 16


def chosen_layout(lanes: int, ways: int) -> data.StructLayout:
    """Return the payload of ``lanes`` quantized values with their block's way.

    Members
    -------
    lanes, count, last : as in ``vector_layout``; the values have as many bits as the way has.
    way, shift : the block's way; its scale is 2^shift.
    """
    return data.StructLayout(
        {
            "lanes": data.ArrayLayout(signed(8), lanes),
            "count": range(lanes + 1),
            "last": 1,
            **{name: field.shape for name, field in choice_layout(ways)},
        }
    )


class MultiwayQuantize(Component):
    """Quantizes a vector a cycle in every way, and sends a block out when its way is chosen.

    Way i of n bits and clip c makes ``q = saturate(round(x / 2^s))`` of n bits, with
    ``s = max(0, L - (n - 1) - c)`` and L the bit length of the block's greatest magnitude. With
    ``y = q 2^s`` and sums over the block, the way is the one with the least ``sum |x - y|`` (L1),
    ``sum (x - y)^2`` (L2) or ``e = |sum |x| - sum |y||`` (BIAS), with the greatest
    ``(sum x y)^2 / sum y^2`` (COSINE), or the first one with ``e 2^16 <= threshold sum |x|``, else
    as BIAS (QEM). Of equals it is the one with the lowest index.

    A vector a cycle goes through if blocks have at least ``arbiter_cycles`` vectors. A block is
    ended after ``vectors`` vectors at the latest, whether or not ``last`` says so.

    Parameters
    ----------
    lanes : elements a cycle, 1 to 64.
    vectors : vectors in the largest block, at least 1.
    ways : (bits 2 to 8, clip 0 to 7) of each way, 1 to 8 of them.
    criterion : what the best way is; what other criteria need is left out.
    rounding : any but LFSR.
    threshold : of criterion QEM, 0 to 2^16.
    depth, blocks : vectors and blocks that it holds at least before ``i.ready`` falls.

    Members
    -------
    i : In(stream of {vector: vector_layout(lanes)}); ``ready`` does not see ``o.ready``.
    o : Out(stream of chosen_layout(lanes, ways)); ``last`` is set where a block was ended.
    """

    def __init__(
        self,
        lanes: int,
        vectors: int,
        ways: Sequence[tuple[int, int]],
        *,
        criterion: BlockCriterion,
        rounding: BlockRounding = BlockRounding.HALF_EVEN,
        threshold: int = QEM_THRESHOLD,
    ) -> None:
        if vectors < 1:
            raise ValueError(f"vectors is {vectors}; legal: at least 1")
        if not 1 <= len(ways) <= 8:
            raise ValueError(f"there are {len(ways)} ways; legal: 1 to 8")
        for bits, clip in ways:
            if not 2 <= bits <= 8:
                raise ValueError(f"bits is {bits}; legal: 2 to 8")
            if not 0 <= clip <= 7:
                raise ValueError(f"clip is {clip}; legal: 0 to 7")
        if rounding is BlockRounding.LFSR:
            raise ValueError("rounding is LFSR; legal: any other")
        if not 0 <= threshold <= 1 << 16:
            raise ValueError(f"threshold is {threshold}; legal: 0 to 65536")
        self.lanes, self.vectors, self.ways = lanes, vectors, tuple(ways)
        self.criterion, self.rounding, self.threshold = criterion, rounding, threshold
        self._input = data.StructLayout({"vector": vector_layout(lanes)})
        self._scale = data.StructLayout({"length": range(33)})
        self._sums = ErrorSums(lanes, len(ways), lanes * vectors, criterion)
        self._arbiter = Arbiter(len(ways), lanes * vectors, criterion, threshold)
        self._maximum = BlockMaximum(lanes)
        self.blocks = _BLOCKS
        # One block that enters and one that leaves, and what follows while a way is looked for.
        slack = self._maximum.latency + self._sums.latency + self._arbiter.cycles + 24
        self.depth = 1 << (2 * vectors + slack - 1).bit_length()
        super().__init__(
            {
                "i": In(stream.Signature(self._input)),
                "o": Out(stream.Signature(chosen_layout(lanes, len(ways)))),
            }
        )

    @property
    def arbiter_cycles(self) -> int:
        """Cycles that the choice for one block takes at most."""
        return self._arbiter.cycles

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.maximum = maximum = self._maximum
        depth = 1 << (self.vectors + maximum.latency + 8 - 1).bit_length()
        m.submodules.waiting = waiting = BlockBuffer(
            vector_layout(self.lanes), self._scale, depth, _BLOCKS
        )
        m.submodules.scales = scales = Queue(self._scale, _BLOCKS)
        wiring.connect(m, scales.o, waiting.scale)

        # In: every vector goes to the first buffer and past the maximum.
        vector = self.i.payload.vector
        position, last, take = Signal(range(self.vectors)), Signal(), Signal()
        m.d.comb += [
            last.eq(vector.last | (position == self.vectors - 1)),
            take.eq(self.i.valid & self.i.ready),
            waiting.i.valid.eq(self.i.valid),
            self.i.ready.eq(waiting.i.ready),
            waiting.i.payload.last.eq(last),
            waiting.i.payload.vector.eq(vector),
            maximum.valid.eq(take),
            maximum.vector.eq(vector),
            maximum.last.eq(last),
        ]
        with m.If(take):
            m.d.sync += position.eq(Mux(last, 0, position + 1))
        # The buffer lets in no more blocks than fit into the queue.
        length = scales.i.payload.length
        m.d.comb += scales.i.valid.eq(maximum.done)
        for k in range(32):
            with m.If(maximum.magnitude[k]):
                m.d.comb += length.eq(k + 1)
        self._second_pass(m, waiting)
        return m

    def _second_pass(self, m: Module, waiting: BlockBuffer) -> None:
        """Quantize what leaves ``waiting``, keep all ways until one is chosen, and send that."""
        ways, sums, arbiter = len(self.ways), self._sums, self._arbiter
        entry = data.StructLayout(
            {
                "ways": data.ArrayLayout(data.ArrayLayout(signed(8), self.lanes), ways),
                "count": range(self.lanes + 1),
            }
        )
        enable, pipeline = Signal(), _Pipeline(self)
        m.submodules.pipeline = EnableInserter(enable)(pipeline)
        m.submodules.judged = judged = BlockBuffer(
            entry, choice_layout(ways), self.depth, _BLOCKS
        )
        m.submodules.sums = sums
        m.submodules.arbiter = arbiter
        m.submodules.verdicts = verdicts = Queue(sums.layout, _BLOCKS)
        wiring.connect(m, verdicts.o, arbiter.i)
        # The next way is looked for while a block leaves.
        m.submodules.choices = choices = Queue(choice_layout(ways), _BLOCKS)
        wiring.connect(m, arbiter.o, choices.i)
        wiring.connect(m, choices.o, judged.scale)
        entered = Signal()
        m.d.comb += [
            enable.eq(~pipeline.done | judged.i.ready),
            waiting.o.ready.eq(enable),
            pipeline.valid.eq(waiting.o.valid),
            pipeline.vector.eq(waiting.o.payload.vector),
            pipeline.ended.eq(waiting.o.payload.last),
            pipeline.length.eq(waiting.o.payload.scale.length),
            judged.i.valid.eq(pipeline.done),
            judged.i.payload.last.eq(pipeline.last),
            judged.i.payload.vector.ways.eq(pipeline.q),
            judged.i.payload.vector.count.eq(pipeline.count),
            entered.eq(judged.i.valid & judged.i.ready),
            sums.valid.eq(entered),
            sums.last.eq(pipeline.last),
            sums.size.eq(pipeline.size),
            sums.q.eq(pipeline.q),
            sums.shift.eq(pipeline.shift),
            # As many blocks as ``judged`` lets in fit here too.
            verdicts.i.valid.eq(sums.done),
            verdicts.i.payload.eq(sums.sums),
        ]
        out, choice = judged.o.payload, judged.o.payload.scale
        m.d.comb += [
            self.o.valid.eq(judged.o.valid),
            judged.o.ready.eq(self.o.ready),
            self.o.payload.lanes.eq(out.vector.ways[choice.way]),
            self.o.payload.count.eq(out.vector.count),
            self.o.payload.last.eq(out.last),
            self.o.payload.way.eq(choice.way),
            self.o.payload.shift.eq(choice.shift),
        ]


class _Pipeline(Component):
    """All lanes of all ways, without handshake."""

    def __init__(self, unit: MultiwayQuantize) -> None:
        self.lanes, self.ways, self.rounding = unit.lanes, unit.ways, unit.rounding
        lanes, ways = unit.lanes, len(unit.ways)
        super().__init__(
            {
                "valid": In(1),
                "vector": In(vector_layout(lanes)),
                "ended": In(1),
                "length": In(range(33)),
                "done": Out(1),
                "last": Out(1),
                "count": Out(range(lanes + 1)),
                "size": Out(data.ArrayLayout(32, lanes)),
                "q": Out(data.ArrayLayout(data.ArrayLayout(signed(8), lanes), ways)),
                "shift": Out(data.ArrayLayout(5, ways)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        latency = 1 + WayLane.latency
        valid = Signal(latency)
        m.d.sync += valid.eq(Cat(self.valid, valid))
        m.d.comb += self.done.eq(valid[-1])

        # Cycle 1: magnitudes and shifts. A lane without an element holds 0.
        count = Mux(self.vector.last, self.vector.count, self.lanes)[: len(self.count)]
        beside = Cat(self.ended, count)
        sizes, negatives = [], []
        for k in range(self.lanes):
            here = present(self.vector.last, self.vector.count, k)
            value = self.vector.lanes[k]
            sizes.append(register(m, Mux(here, magnitude(value), 0), f"s1_size{k}"))
            negatives.append(register(m, value[31], f"s1_negative{k}"))
        shifts = []
        for way, (bits, clip) in enumerate(self.ways):
            least = bits - 1 + clip
            shift = Mux(self.length > least, self.length - least, 0)[:5]
            shifts.append(register(m, shift, f"s1_shift{way}"))

        for way, (bits, clip) in enumerate(self.ways):
            for k in range(self.lanes):
                m.submodules[f"way{way}_{k}"] = lane = WayLane(bits, clip, self.rounding)
                m.d.comb += [
                    lane.size.eq(sizes[k]),
                    lane.negative.eq(negatives[k]),
                    lane.shift.eq(shifts[way]),
                    self.q[way][k].eq(lane.o),
                ]
        carried = Cat(*sizes, *shifts)
        for stage in range(2, latency + 1):
            carried = register(m, carried, f"s{stage}_carried")
        for stage in range(1, latency + 1):
            beside = register(m, beside, f"s{stage}_beside")
        m.d.comb += [
            Cat(self.size.as_value(), self.shift.as_value()).eq(carried),
            Cat(self.last, self.count).eq(beside),
        ]
        return m
