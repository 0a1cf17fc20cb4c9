# SPDX-License-Identifier: Apache-2.0
"""VECTOR's mode BLOCK: local dynamic quantization on the way to the output buffer."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.rounding import RANDOM
from kiwicha.hw.statistics.block_quantize import BlockQuantize
from kiwicha.hw.statistics.multiway import MultiwayQuantize
from kiwicha.hw.vector.flat_index import FlatIndex
from kiwicha.hw.vector.modes import DIGIT
from kiwicha.hw.vector.narrow import NarrowWriter, answered_write
from kiwicha.hw.vector.statistics_path import counts_member
from kiwicha.machine.blocks import scale_bytes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, VECTOR
from kiwicha.machine.modes import BlockScale

__all__ = ["BlockPath", "block_step"]

_SLIPPED = 3
"""Steps that the walker may make after one that lets ``hold`` rise, that one included."""


def _place(cfg: AcceleratorConfig) -> dict[str, object]:
    return {
        "address": range(cfg.output_bytes),
        "live": range(cfg.requantize_lanes),
        "scale": range(cfg.output_bytes),
        "last": 1,
        "signal": ENGINES,
        **counts_member(cfg),
    }


def block_step(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return the int32 of one step, where its results and its block's scale go; ``ended`` bounds
    the blocks, ``last`` the instructions."""
    values = data.ArrayLayout(signed(32), cfg.requantize_lanes)
    return data.StructLayout({"values": values, "ended": 1, **_place(cfg)})


class BlockPath(Component):
    """Quantizes blocks of steps, and writes each block's results and behind them its scale.

    A scale is one byte, the shift of a power of two, or two, shift and way, or four, the block's
    greatest magnitude, of which the scale is a 127th. Throughput: a step a cycle, and between
    blocks the pauses of ``modes.block_pauses``, which the source has to make. Short blocks behind
    a long one come faster than they leave: they wait for ``hold``.

    Parameters
    ----------
    cfg : ``blocks.channels``, ``blocks.scale``, ``blocks.rounding``, ``blocks.ways``,
        ``blocks.criterion``, ``requantize_lanes`` and ``output_bytes``.
    fetch : cycles from a step (``begun``) to its values on ``i``.
    depth : steps on their way through this unit at most.

    Members
    -------
    begun, ended : In(1)
        A step that will come on ``i`` is made; it ends its block.
    hold : Out(1)
        Make no further step, but for one that is made in this cycle; from a register.
    take : In(1); instruction : In(VECTOR); final : In(1)
        As ``FlatIndex`` has them; only with ``blocks.random``.
    random : In(RANDOM)
        As ``BlockQuantize`` has it; only with ``blocks.random``.
    i : In(always-ready stream of block_step(cfg))
    o : Out(always-ready stream of answered_write(cfg))
    """

    def __init__(self, cfg: AcceleratorConfig, fetch: int) -> None:
        self.cfg = cfg
        self._index = FlatIndex(cfg, fetch) if cfg.blocks.random else None
        vectors = cfg.blocks.channels // cfg.requantize_lanes
        self._quantize: BlockQuantize | MultiwayQuantize
        if cfg.blocks.scale is BlockScale.MULTIWAY:
            self._quantize = MultiwayQuantize(
                cfg.requantize_lanes,
                vectors,
                cfg.blocks.ways,
                criterion=cfg.blocks.criterion,
                rounding=cfg.blocks.rounding,
            )
        else:
            self._quantize = BlockQuantize(
                cfg.requantize_lanes,
                vectors,
                DIGIT,
                free=cfg.blocks.scale is BlockScale.FREE,
                rounding=cfg.blocks.rounding,
            )
        self.depth = self._quantize.depth
        super().__init__({
            "begun": In(1),
            "ended": In(1),
            "hold": Out(1),
            "i": In(stream.Signature(block_step(cfg), always_ready=True)),
            "o": Out(stream.Signature(answered_write(cfg), always_ready=True)),
            **(
                {"take": In(1), "instruction": In(VECTOR), "final": In(1), "random": In(RANDOM)}
                if cfg.blocks.random
                else {}
            ),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, quantize = self.cfg, self._quantize
        place = data.StructLayout(_place(cfg))
        m.submodules.quantize = quantize
        m.submodules.places = places = Queue(place, quantize.depth)
        m.submodules.scale = scale = NarrowWriter(cfg, scale_bytes(cfg))
        step = self.i.payload
        vector = quantize.i.payload.vector
        m.d.comb += [
            quantize.i.valid.eq(self.i.valid),
            vector.lanes.eq(step["values"]),
            vector.count.eq(step.live + 1),
            vector.last.eq(step.ended),
            places.i.valid.eq(self.i.valid),
            *(places.i.payload[name].eq(step[name]) for name in _place(cfg)),
        ]

        if self._index is not None:
            m.submodules.index = index = self._index
            m.d.comb += [
                index.take.eq(self.take),
                index.instruction.eq(self.instruction),
                index.step.eq(self.begun),
                index.final.eq(self.final),
                quantize.i.payload.index.eq(index.o),
                quantize.random.eq(self.random),
            ]

        result, at, write = quantize.o.payload, places.o.payload, self.o.payload.write
        take = Signal()
        m.d.comb += [
            take.eq(quantize.o.valid & ~scale.o.valid),
            quantize.o.ready.eq(~scale.o.valid),
            places.o.ready.eq(take),
            scale.i.valid.eq(take & result.last),
            scale.i.payload.address.eq(at.scale),
            scale.i.payload.live.eq(scale_bytes(cfg) - 1),
            scale.i.payload.last.eq(at.last),
            scale.i.payload.signal.eq(at.signal),
            scale.i.payload.data.as_value().eq(self._scale(result)),
            self.o.payload.eq(scale.o.payload),
            self.o.valid.eq(scale.o.valid | quantize.o.valid),
        ]
        with m.If(~scale.o.valid):
            m.d.comb += [
                self.o.payload.last.eq(0),
                write.address.eq(at.address),
                write.live.eq(at.live),
                write.data.eq(result.lanes),
                *(self.o.payload[name].eq(at[name]) for name in counts_member(cfg)),
            ]

        # Nobody waits inside: what is on its way must fit.
        steps, blocks = Signal(range(self.depth + 1)), Signal(range(quantize.blocks + 1))
        m.d.sync += [
            steps.eq(steps + self.begun - take),
            blocks.eq(blocks + (self.begun & self.ended) - scale.i.valid),
            self.hold.eq(
                (steps >= self.depth - _SLIPPED) | (blocks >= quantize.blocks - _SLIPPED)
            ),
        ]
        return m

    def _scale(self, result: data.View) -> Value:
        """Return the bytes of the scale of a block."""
        if self.cfg.blocks.scale is BlockScale.FREE:
            return result.magnitude
        if self.cfg.blocks.scale is BlockScale.POT:
            return result.shift
        return Cat(result.shift, Const(0, 3), result.way)
