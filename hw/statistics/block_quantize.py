# SPDX-License-Identifier: Apache-2.0
"""Local dynamic quantization: int32 blocks become int8 with a scale of their own, in one pass.

After Cambricon-Q (ISCA 2021): statistics while a block enters, quantization while it leaves.
"""

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.lanes import magnitude, present, register, tree, tree_depth, vector_layout
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.reciprocal import (
    FRACTION,
    SHIFT_FRACTION,
    Reciprocal,
    division_cycles,
    scale_layout,
)
from kiwicha.hw.parts.rounding import RANDOM, RandomWord, Round, random_key
from kiwicha.hw.statistics.block_buffer import BlockBuffer
from kiwicha.machine.modes import BlockRounding

__all__ = ["BlockQuantize", "quantized_layout"]


def _index_member(rounding: BlockRounding) -> dict[str, int]:
    """Return a vector's ``index`` as a member of a layout, where anything looks at it."""
    return {"index": 32} if rounding is BlockRounding.LFSR else {}


def _fetch(rounding: BlockRounding) -> int:
    """Return the cycles from a vector to its rounding; random words take one more."""
    return 4 if rounding is BlockRounding.LFSR else 3


#: Blocks between input and output at most; as many of one vector hide the unit's latency.
_BLOCKS = 16


def quantized_layout(lanes: int) -> data.StructLayout:
    """Return the payload of ``lanes`` int8 values with the scale of their block.

    Members
    -------
    lanes, count, last : as in ``vector_layout``.
    magnitude : greatest magnitude M of the block; free: the scale is M / 127.
    shift : power of two: the scale is 2^shift; free: 0.
    """
    return data.StructLayout(
        {
            "lanes": data.ArrayLayout(signed(8), lanes),
            "count": range(lanes + 1),
            "last": 1,
            "magnitude": 32,
            "shift": 5,
        }
    )


class BlockQuantize(Component):
    """Quantizes a vector a cycle; a block waits until it is complete and its scale is known.

    ``pot``: ``saturate(round(x / 2^s))``, ``s = max(0, bit length of M - 7)``; ``free``:
    ``saturate(round(x * floor(127 * 2^40 / M) / 2^40))``; a block of zeros gives zeros. Blocks that
    need a division keep full throughput if they have at least ``2 + ceil(47 / digit)`` vectors.
    A block is ended after ``vectors`` vectors at the latest, whether or not ``last`` says so.

    Parameters
    ----------
    lanes : elements a cycle, 1 to 64.
    vectors : vectors in the largest block, at least 1.
    digit : quotient bits a cycle, 1 to 4.
    free : whether scales are free; powers of two need a shifter, no multiplier.
    rounding : of the values.
    depth, blocks : vectors and blocks that it holds at least before ``i.ready`` falls.

    Members
    -------
    i : In(stream of {vector: vector_layout(lanes), index: 32}); ``index``, only where ``rounding``
        is LFSR, is the flat index of lane 0 in its tensor. ``ready`` does not see ``o.ready`` of
        the same cycle.
    random : In(RANDOM); only where ``rounding`` is LFSR; does not change from three cycles before
        the first vector enters until the last one has left.
    o : Out(stream of quantized_layout(lanes)); ``last`` is set where a block was ended.
    """

    def __init__(
        self,
        lanes: int,
        vectors: int,
        digit: int = 1,
        *,
        free: bool,
        rounding: BlockRounding,
    ) -> None:
        if vectors < 1:
            raise ValueError(f"vectors is {vectors}; legal: at least 1")
        self.free, self.rounding, self.blocks = free, rounding, _BLOCKS
        self.lanes = lanes
        self.vectors = vectors
        self._reciprocal = Reciprocal(digit, free)
        # Room for a block and for what enters while its scale is being made.
        slack = division_cycles(digit) + tree_depth(lanes) + 6
        self.depth = 1 << (vectors + slack - 1).bit_length()
        self._entry = data.StructLayout({
            "vector": vector_layout(lanes), **_index_member(rounding)
        })
        super().__init__({
            "i": In(stream.Signature(self._entry)),
            "o": Out(stream.Signature(quantized_layout(lanes))),
            **({"random": In(RANDOM)} if rounding is BlockRounding.LFSR else {}),
        })

    @property
    def latency(self) -> int:
        """Cycles from a power-of-two block's last vector in to its first vector out."""
        return 5 + tree_depth(self.lanes) + _fetch(self.rounding) + Round.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        scale = scale_layout(self.free)
        m.submodules.buffer = buffer = BlockBuffer(self._entry, scale, self.depth, _BLOCKS)
        m.submodules.requests = requests = Queue(32, _BLOCKS)
        m.submodules.reciprocal = reciprocal = self._reciprocal
        wiring.connect(m, requests.o, reciprocal.i)
        wiring.connect(m, reciprocal.o, buffer.scale)

        # In: every vector goes to the buffer and past the maximum.
        vector = self.i.payload.vector
        position, last, take = Signal(range(self.vectors)), Signal(), Signal()
        held = buffer.i.payload
        m.d.comb += [
            last.eq(vector.last | (position == self.vectors - 1)),
            take.eq(self.i.valid & self.i.ready),
            buffer.i.valid.eq(self.i.valid),
            self.i.ready.eq(buffer.i.ready),
            held.last.eq(last),
            held.vector.eq(self.i.payload),
        ]
        with m.If(take):
            m.d.sync += position.eq(Mux(last, 0, position + 1))
        sizes = [
            register(
                m,
                Mux(present(vector.last, vector.count, k), magnitude(vector.lanes[k]), 0),
                f"size{k}",
            )
            for k in range(self.lanes)
        ]
        top = tree(m, sizes, lambda a, b: Mux(a < b, b, a), "top")
        waits = 1 + tree_depth(self.lanes)
        flags, ends = Signal(waits), Signal(waits)
        m.d.sync += [flags.eq(Cat(take, flags)), ends.eq(Cat(take & last, ends))]
        greatest, so_far = Signal(32), Signal(32)
        m.d.comb += greatest.eq(Mux(top > so_far, top, so_far))
        with m.If(flags[-1]):
            m.d.sync += so_far.eq(Mux(ends[-1], 0, greatest))
        # The buffer lets in no more blocks than fit into the queue.
        m.d.sync += [
            requests.i.valid.eq(ends[-1]),
            requests.i.payload.eq(greatest),
        ]

        # Out.
        enable, pipeline = Signal(), _Pipeline(self.lanes, self.free, self.rounding)
        m.submodules.pipeline = EnableInserter(enable)(pipeline)
        m.d.comb += [
            enable.eq(~pipeline.done | self.o.ready),
            buffer.o.ready.eq(enable),
            pipeline.valid.eq(buffer.o.valid),
            pipeline.vector.eq(buffer.o.payload.vector.vector),
            *(
                getattr(pipeline, name).eq(buffer.o.payload.vector[name])
                for name in _index_member(self.rounding)
            ),
            pipeline.ended.eq(buffer.o.payload.last),
            pipeline.scale.eq(buffer.o.payload.scale),
            self.o.valid.eq(pipeline.done),
            self.o.payload.eq(pipeline.result),
        ]
        if self.rounding is BlockRounding.LFSR:
            m.d.comb += pipeline.key.eq(random_key(m, self.random.seed, self.random.step))
        return m


class _Pipeline(Component):
    """Multiply (or shift) and round, without handshake."""

    def __init__(self, lanes: int, free: bool, rounding: BlockRounding) -> None:
        self.lanes, self.free, self.rounding = lanes, free, rounding
        self.latency = _fetch(rounding) + Round.latency
        super().__init__({
            "valid": In(1),
            "vector": In(vector_layout(lanes)),
            **{name: In(bits) for name, bits in _index_member(rounding).items()},
            **({"key": In(32)} if rounding is BlockRounding.LFSR else {}),
            "ended": In(1),
            "scale": In(scale_layout(free)),
            "done": Out(1),
            "result": Out(quantized_layout(lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.valid, valid))
        m.d.comb += self.done.eq(valid[-1])

        # A short last vector keeps its count, a block that was cut has full vectors.
        count = Mux(self.vector.last, self.vector.count, self.lanes)
        beside = Cat(count[: len(self.result.count)], self.ended)
        beside = Cat(beside, self.scale.magnitude, self.scale.shift)
        for k in range(self.latency):
            beside = register(m, beside, f"beside{k + 1}")
        m.d.comb += self.result.as_value()[8 * self.lanes :].eq(beside)

        fetch = _fetch(self.rounding)
        upper: Value = Const(FRACTION >> 1, 5) if self.free else (self.scale.shift + 1) >> 1
        for k in range(1, fetch + 1):
            upper = register(m, upper, f"s{k}_upper")
        if self.rounding is BlockRounding.LFSR:  # it comes from a block RAM
            index = register(m, self.index, "s0_index")
        for lane in range(self.lanes):
            value = self.vector.lanes[lane]
            product = (self._multiply if self.free else self._shift)(m, magnitude(value), lane)
            negative = value[31]
            for k in range(1, fetch + 1):
                negative = register(m, negative, f"s{k}_negative{lane}")
            for k in range(4, fetch + 1):
                product = register(m, product, f"s{k}_product{lane}")
            fraction = FRACTION if self.free else SHIFT_FRACTION
            final = m.submodules[f"round{lane}"] = Round(fraction, self.rounding)
            m.d.comb += [
                final.value.eq(product),
                final.negative.eq(negative),
                self.result.lanes[lane].eq(final.o),
            ]
            if self.rounding is BlockRounding.PSEUDO:
                m.d.comb += final.upper.eq(upper)
            if self.rounding is BlockRounding.LFSR:
                m.d.comb += final.word.eq(self._word(m, index, lane))
        return m

    def _word(self, m: Module, index: Value, lane: int) -> Value:
        """Return a lane's random word, three cycles after ``index``."""
        word = m.submodules[f"word{lane}"] = RandomWord()
        near = register(m, (self.key + lane)[:32], f"near{lane}")
        m.d.comb += [word.place.eq(index + near), word.key.eq(self.key)]
        return register(m, word.o, f"s3_word{lane}")

    def _multiply(self, m: Module, size: Value, lane: int) -> Value:
        """Return ``size`` times the factor three cycles later."""
        size = register(m, size, f"s1_size{lane}")
        factor = register(m, self.scale.factor, f"s1_factor{lane}")
        # Of the product, 47 bits: it is at most 127 * 2^40.
        parts = []
        for a, b in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
            cut = size[16 * a : 16 * a + 16] * factor[16 * b : 16 * b + 16]
            place = 16 * (a + b)
            name = f"s2_part{a}{b}_{lane}"
            parts.append(register(m, cut[: 47 - place], name) << place)
        return register(m, sum(parts[1:], parts[0])[:47], f"s3_product{lane}")

    def _shift(self, m: Module, size: Value, lane: int) -> Value:
        """Return ``size`` with its point moved left by ``shift`` places, three cycles later."""
        size = register(m, size, f"s1_size{lane}")
        shift = register(m, self.scale.shift, f"s1_shift{lane}")
        moved = Cat(Const(0, SHIFT_FRACTION), size) >> Cat(Const(0, 3), shift[3:])
        moved = register(m, moved[: 7 + 7 + SHIFT_FRACTION], f"s2_moved{lane}")
        moved = moved >> register(m, shift[:3], f"s2_shift{lane}")
        return register(m, moved[: 7 + SHIFT_FRACTION], f"s3_product{lane}")
