# SPDX-License-Identifier: Apache-2.0
"""Which modes of VECTOR a machine has, and what they mean for its walker."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring

from kiwicha.hw.parts.reciprocal import division_cycles
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.statistics.multiway_arbiter import arbiter_cycles
from kiwicha.hw.vector.operand_walk import is_real
from kiwicha.machine import blocks
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode
from kiwicha.machine.modes import BlockScale

__all__ = [
    "DIGIT", "Admitted", "admit_one_mode", "asks_words", "block_pauses", "ends_pixels",
    "vector_modes",
]

DIGIT = 4
"""Quotient bits a cycle of the division for a free scale."""


def vector_modes(cfg: AcceleratorConfig) -> tuple[VectorMode, ...]:
    """Return the modes of a machine; RAW comes with any feature that has a use for it."""
    modes = [VectorMode.REQUANTIZE]
    if cfg.slots or cfg.blocks.channels or cfg.statistics.elements:
        modes.append(VectorMode.RAW)
    if cfg.dynamic:
        modes += [VectorMode.MEASURE, VectorMode.QUANTIZE]
    if cfg.blocks.channels:
        modes.append(VectorMode.BLOCK)
    if cfg.training:
        modes += [VectorMode.RANGE, VectorMode.SHIFT]
    if cfg.real:
        modes.append(VectorMode.REAL)
    return tuple(modes)


def asks_words(cfg: AcceleratorConfig, asked: data.View) -> Value:
    """Return whether the results of an instruction have four bytes each."""
    raw = asked.mode == VectorMode.RAW
    return raw | (asked.mode == VectorMode.REAL) if cfg.real else raw


@dataclass(frozen=True)
class Admitted:
    """What all instructions under way have in common.

    Members
    -------
    mode : VectorMode.
    residual, sums : those fields of theirs; constants without ``residual.tables``.
    relu, target : those fields of theirs; constants without ``training.classes``.
    """

    mode: Value
    residual: Value
    sums: Value
    relu: Value
    target: Value


def admit_one_mode(
    m: Module, cfg: AcceleratorConfig, asked: wiring.PureInterface, walker: wiring.PureInterface,
    count: Value,
) -> Admitted:
    """Let instructions on to the walker that have all in common that ``Admitted`` says.

    Where that changes, and before and after MEASURE, QUANTIZE, REAL and RANGE, none of ``count``
    may be under way.
    """
    one, common = len(vector_modes(cfg)) == 1, Value.cast(Const(0, 5))
    if one and not cfg.residual:
        wiring.connect(m, walker, wiring.flipped(asked))
        return _admitted(Const(VectorMode.REQUANTIZE), common)
    mode, free = Signal(asked.payload.mode.shape(), name="mode"), Signal(name="free")
    alone: Value = Const(0)
    if cfg.dynamic:
        alone = (mode == VectorMode.MEASURE) | (mode == VectorMode.QUANTIZE)
        if cfg.real:
            alone |= mode == VectorMode.REAL
    if cfg.training:
        alone |= mode == VectorMode.RANGE
    same = mode == asked.payload.mode
    if cfg.residual:
        names = ("residual", "sums", *(("relu", "target") if cfg.training else ()))
        asked_common: Value = Cat(asked.payload[name] for name in names)
        if cfg.real:  # where they say something else
            asked_common = Mux(is_real(asked.payload.mode), 0, asked_common)
        common = Signal(len(asked_common), name="sums")
        same = (common == asked_common) if one else same & (common == asked_common)
        with m.If(asked.valid & asked.ready):
            m.d.sync += common.eq(asked_common)
    m.d.comb += [
        free.eq((count == 0) | (same & ~alone)),
        walker.payload.eq(asked.payload),
        walker.valid.eq(asked.valid & free),
        asked.ready.eq(walker.ready & free),
    ]
    if one:
        return _admitted(Const(VectorMode.REQUANTIZE), common)
    with m.If(asked.valid & asked.ready):
        m.d.sync += mode.eq(asked.payload.mode)
    return _admitted(mode, common)


def _admitted(mode: Value, common: Value) -> Admitted:
    """Return the fields that ``common`` holds, those that a machine has not as 0."""
    return Admitted(mode, common[0], common[1], common[2:3], common[3:5])


def ends_pixels(cfg: AcceleratorConfig) -> bool:
    """Return whether anybody looks at where a pixel ends."""
    return bool(cfg.statistics.elements) or cfg.blocks.random


def block_pauses(cfg: AcceleratorConfig) -> tuple[int, int]:
    """Return (cycles after a block to write its scale, cycles from block end to block end)."""
    writes, spacing = blocks.block_pauses(cfg)
    own = 1
    if cfg.blocks.scale is BlockScale.FREE:
        own = division_cycles(DIGIT)
    elif cfg.blocks.scale is BlockScale.MULTIWAY:
        own = arbiter_cycles(len(cfg.blocks.ways), cfg.blocks.channels, cfg.blocks.criterion)
    require_stated("the time between blocks", own, spacing)
    return writes, spacing
