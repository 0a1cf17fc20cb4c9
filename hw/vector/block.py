# SPDX-License-Identifier: Apache-2.0
"""VECTOR's mode BLOCK: local dynamic quantization on the way to the output buffer."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from hw.config import AcceleratorConfig, BlockScale
from hw.control.queue import Queue
from hw.isa import ENGINES
from hw.statistics.block_quantize import BlockQuantize
from hw.statistics.rounding import Rounding
from hw.vector.modes import DIGIT, scale_bytes
from hw.vector.narrow import NarrowWriter, answered_write

__all__ = ["BlockPath", "block_step"]


def _place(cfg: AcceleratorConfig) -> dict[str, object]:
    return {
        "address": range(cfg.output_bytes),
        "live": range(cfg.requantize_lanes),
        "scale": range(cfg.output_bytes),
        "last": 1,
        "signal": ENGINES,
    }


def block_step(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return the int32 of one step, where its results and its block's scale go; ``ended`` bounds
    the blocks, ``last`` the instructions."""
    values = data.ArrayLayout(signed(32), cfg.requantize_lanes)
    return data.StructLayout({"values": values, "ended": 1, **_place(cfg)})


class BlockPath(Component):
    """Quantizes blocks of steps, and writes each block's results and behind them its scale.

    A scale is one byte, the shift of a power of two, or four, the block's greatest magnitude, of
    which the scale is a 127th. Rounding is half to even. Throughput: a step a cycle, and between
    blocks the pauses of ``modes.block_pauses``, which the source has to make. Latency:
    ``latency`` cycles from a block's last step to its first result for powers of two.

    Parameters
    ----------
    cfg : ``block_channels``, ``block_scale``, ``requantize_lanes`` and ``output_bytes``.

    Members
    -------
    i : In(always-ready stream of block_step(cfg))
    o : Out(always-ready stream of answered_write(cfg))
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._quantize = BlockQuantize(
            cfg.requantize_lanes,
            cfg.block_channels // cfg.requantize_lanes,
            DIGIT,
            free=cfg.block_scale is BlockScale.FREE,
            rounding=Rounding.HALF_EVEN,
        )
        self.latency = self._quantize.latency
        self.depth = self._quantize.depth
        super().__init__({
            "i": In(stream.Signature(block_step(cfg), always_ready=True)),
            "o": Out(stream.Signature(answered_write(cfg), always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, quantize = self.cfg, self._quantize
        place = data.StructLayout(_place(cfg))
        m.submodules.quantize = quantize
        # Room for the ring of steps and for those in the pipeline behind it.
        m.submodules.places = places = Queue(place, 2 * quantize.depth)
        m.submodules.scale = scale = NarrowWriter(cfg, scale_bytes(cfg))
        step = self.i.payload
        vector = quantize.i.payload.vector
        m.d.comb += [
            quantize.i.valid.eq(self.i.valid),
            vector.lanes.eq(step.values),
            vector.count.eq(step.live + 1),
            vector.last.eq(step.ended),
            places.i.valid.eq(self.i.valid),
            *(places.i.payload[name].eq(step[name]) for name in _place(cfg)),
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
            scale.i.payload.data.as_value().eq(
                result.shift if cfg.block_scale is BlockScale.POT else result.magnitude
            ),
            self.o.payload.eq(scale.o.payload),
            self.o.valid.eq(scale.o.valid | quantize.o.valid),
        ]
        with m.If(~scale.o.valid):
            m.d.comb += [
                self.o.payload.last.eq(0),
                write.address.eq(at.address),
                write.live.eq(at.live),
                write.data.eq(result.lanes),
            ]
        return m
