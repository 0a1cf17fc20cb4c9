# SPDX-License-Identifier: Apache-2.0
"""The memories that LOAD fills, and what goes along with each of its requests."""

from amaranth.hdl import unsigned
from amaranth.lib import data
from amaranth.utils import exact_log2

from kiwicha.hw.parts.format_rules import machine_formats
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import (
    ENGINES,
    FUNCTION_ENTRIES,
    PARAMETER_BYTES,
    SLOT_BYTES,
    SLOTS,
    SUM_BEATS,
    LoadTarget,
)

__all__ = ["load_targets", "piece_layout"]

def load_targets(cfg: AcceleratorConfig) -> dict[int, int]:
    """Return the bytes of each memory that LOAD can fill."""
    targets: dict[int, int] = {
        LoadTarget.ACTIVATION: cfg.activation_bytes,
        LoadTarget.WEIGHT: cfg.weight_bytes,
        LoadTarget.PARAMETER: cfg.parameter_channels * PARAMETER_BYTES,
    }
    if cfg.special.lanes:
        targets[LoadTarget.OPERAND] = cfg.special.lanes * cfg.special.bytes
        targets[LoadTarget.TABLE] = 2 * 4 * cfg.special.entries
    if cfg.functions:
        targets[LoadTarget.FUNCTION] = FUNCTION_ENTRIES * cfg.functions.tables
    if cfg.residual:
        targets[LoadTarget.ADDEND] = cfg.output_bytes
        targets[LoadTarget.SUMS] = SUM_BEATS * cfg.beat_bytes * cfg.residual.tables
    if cfg.real:
        targets[LoadTarget.REAL] = cfg.real.bytes
    if cfg.tags:
        targets[LoadTarget.TAGS] = cfg.activation_bytes // cfg.beat_bytes
    if cfg.slots:
        targets[LoadTarget.DYNAMIC] = SLOTS * SLOT_BYTES * (2 if cfg.real.functions else 1)
    return targets


def piece_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return what goes along with a read request until its beats are back.

    ``fresh`` pieces begin a segment, at beat ``local`` of memory ``target``; others follow the
    piece before. ``last`` ends an instruction, to be answered with ``signal``. On a machine with
    formats, ``formatted`` pieces have no ``local``; ``end`` ends a segment, and ``head`` and
    ``tail`` are the first byte wanted of its first and the last byte wanted of its last beat.
    """
    beat = exact_log2(cfg.beat_bytes)
    bits = exact_log2(max(load_targets(cfg).values())) - beat
    formatted = {"formatted": 1, "end": 1, "head": beat, "tail": beat}
    return data.StructLayout({
        "target": LoadTarget,
        "local": unsigned(bits),
        "fresh": 1,
        "last": 1,
        "signal": ENGINES,
        **(formatted if machine_formats(cfg) else {}),
    })
