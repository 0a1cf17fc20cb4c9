# SPDX-License-Identifier: Apache-2.0
"""Where second operands in binary32 lie: as the results do, four bytes for each."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.utils import exact_log2

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode

__all__ = ["asks_operand", "is_real", "walk_operands"]


def is_real(mode: Value) -> Value:
    """Return whether a mode is one of those that have second operands in binary32."""
    return (
        (mode == VectorMode.MEASURE) | (mode == VectorMode.QUANTIZE) | (mode == VectorMode.REAL)
    )


def asks_operand(asked: data.View) -> Value:
    """Return whether an instruction of VECTOR has such operands."""
    return is_real(asked.mode) & asked.residual


def walk_operands(
    m: Module, cfg: AcceleratorConfig, asked: data.View, taking: Value,
    places: tuple[Value, Value, Value],
) -> tuple[Value, Value]:
    """Return the operand of the next step's lane 0, and whether one of its pixel is outside.

    Parameters
    ----------
    places : of the output buffer: the pixel's first byte, its last one, and the step's first; each
        inside, or else the pixel is refused for that.
    """
    size = exact_log2(cfg.real.bytes)
    base = Signal(signed(max(size, exact_log2(cfg.output_bytes) + 2) + 2))
    has, narrow = Signal(name="has_operand"), Signal(name="operand_narrow")

    def operand(place: Value) -> Value:
        return base + Mux(narrow, place << 2, place)

    with m.If(taking):
        wide = asked.mode == VectorMode.REAL
        local = asked.local[: exact_log2(cfg.output_bytes)]
        m.d.sync += [
            base.eq(asked.scales[:size] - Mux(wide, local, local << 2)),
            has.eq(asks_operand(asked)),
            narrow.eq(~wide),
        ]
    first, last, step = (operand(place) for place in places)
    outside = has & ((first < 0) | (last + Mux(narrow, 3, 0) >= cfg.real.bytes))
    return step[2:size], outside
