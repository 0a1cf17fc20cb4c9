# SPDX-License-Identifier: Apache-2.0
"""VECTOR's modes RAW and BLOCK: accumulator plus bias, and the writers that take the sums."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.rounding import RANDOM
from kiwicha.hw.vector.block import BlockPath
from kiwicha.hw.vector.narrow import NarrowWriter, answered_write
from kiwicha.hw.vector.statistics_path import counts_member
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VECTOR, VectorMode

__all__ = ["IntegerPath"]


class IntegerPath(Component):
    """Writes int32 sums as they are, or as quantized blocks; without handshake but for ``hold``.

    Throughput: a step in four cycles in RAW, the pauses of ``modes.block_pauses`` in BLOCK; the
    source makes them.

    Parameters
    ----------
    cfg : ``requantize_lanes``, ``output_bytes``, and what blocks and statistics there are.
    beside : layout of what goes along with a step's values.
    fetch : cycles from a step (``begun``) to its operands on ``i``.
    depth : steps on their way through this unit at most, beyond those of RAW.

    Members
    -------
    mode : In(VectorMode)
        Of all steps under way; nothing is written in others than these two.
    begun : In(1); beside : In(beside)
        A step is made, and what goes along with its values.
    i : In(always-ready stream of {acc, bias})
        Its operands, a lane's each; the sums wrap.
    o : Out(always-ready stream of answered_write(cfg))
        What is written.
    sums : Out(always-ready stream of {words, live, counts})
        Those of RAW, for the statistics; ``counts`` only if there are any.
    hold : Out(1)
        As ``BlockPath`` has it; only with ``blocks.channels``.
    take, instruction, final, random : as ``BlockPath`` has them; only with ``blocks.random``.
    """

    def __init__(self, cfg: AcceleratorConfig, beside: data.StructLayout, fetch: int) -> None:
        self.cfg = cfg
        self.fetch = fetch
        self._block = BlockPath(cfg, fetch + 1) if cfg.blocks.channels else None
        self.depth = self._block.depth if self._block is not None else 0
        words = data.ArrayLayout(signed(32), cfg.requantize_lanes)
        operands = data.StructLayout({"acc": words, "bias": words})
        sums = data.StructLayout({
            "words": words, "live": range(cfg.requantize_lanes), **counts_member(cfg)
        })
        super().__init__({
            "mode": In(VECTOR["mode"].shape),
            "begun": In(1),
            "beside": In(beside),
            "i": In(stream.Signature(operands, always_ready=True)),
            "o": Out(stream.Signature(answered_write(cfg), always_ready=True)),
            "sums": Out(stream.Signature(sums, always_ready=True)),
            **({"hold": Out(1)} if cfg.blocks.channels else {}),
            **(
                {"take": In(1), "instruction": In(VECTOR), "final": In(1), "random": In(RANDOM)}
                if cfg.blocks.random
                else {}
            ),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.beside = late = Delay(self.beside.shape(), self.fetch + 1)
        m.submodules.raw = raw = NarrowWriter(cfg, 4 * cfg.requantize_lanes)
        arrived = Signal()
        totals = Signal(data.ArrayLayout(signed(32), cfg.requantize_lanes), reset_less=True)
        m.d.sync += arrived.eq(self.i.valid)
        for lane, total in enumerate(totals):
            m.d.sync += total.eq(self.i.payload.acc[lane] + self.i.payload.bias[lane])
        m.d.comb += [
            late.i.eq(self.beside),
            raw.i.valid.eq(arrived & (self.mode == VectorMode.RAW)),
            raw.i.payload.data.as_value().eq(totals.as_value()),
            raw.i.payload.live.eq(Cat(Const(3, 2), late.o.live)),
            *(raw.i.payload[name].eq(late.o[name]) for name in ("address", "last", "signal")),
            self.sums.valid.eq(raw.i.valid),
            self.sums.payload.words.eq(totals),
            *(self.sums.payload[name].eq(late.o[name]) for name in ("live", *counts_member(cfg))),
        ]
        with m.If(self.mode == VectorMode.RAW):
            m.d.comb += [self.o.valid.eq(raw.o.valid), self.o.payload.eq(raw.o.payload)]
        if self._block is None:
            return m
        m.submodules.block = block = self._block
        m.d.comb += [
            block.begun.eq(self.begun & (self.mode == VectorMode.BLOCK)),
            block.ended.eq(self.beside.ended),
            self.hold.eq(block.hold),
            block.i.valid.eq(arrived & (self.mode == VectorMode.BLOCK)),
            block.i.payload["values"].eq(totals),
            *(block.i.payload[name].eq(late.o[name]) for name, _ in self.beside.shape()),
        ]
        if cfg.blocks.random:
            m.d.comb += [
                block.take.eq(self.take),
                block.instruction.eq(self.instruction),
                block.final.eq(self.final),
                block.random.eq(self.random),
            ]
        with m.If(self.mode == VectorMode.BLOCK):
            m.d.comb += [self.o.valid.eq(block.o.valid), self.o.payload.eq(block.o.payload)]
        return m
