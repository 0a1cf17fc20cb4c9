# SPDX-License-Identifier: Apache-2.0
"""Transpositions as instructions: lines of memory as columns of weights, and the identity."""

from dataclasses import replace

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.residents import Residents, StoreConstant
from kiwicha.compiler.emit.results import Results
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.compiler.schedule.loops import Loop, jumps
from kiwicha.compiler.schedule.spatial import SpatialTile
from kiwicha.compiler.schedule.tiling import ColumnTile, Tiling
from kiwicha.compiler.schedule.transposition import Cut
from kiwicha.machine.isa import VectorMode

__all__ = ["transpose"]


def transpose(
    work: Contraction, cut: Cut, builder: ProgramBuilder, store: StoreConstant
) -> None:
    """Append the instructions of ``work``, whose matrix becomes its result, piece by piece."""
    config, lanes = builder.config, builder.config.rows
    identity = np.eye(lanes, dtype=np.uint8)
    x = replace(work.x, address=store(identity), height=1, width=lanes)
    work = replace(work, x=x)
    width = config.columns
    tiles = tuple(
        ColumnTile(first, min(width, work.y.channels - first), 0, lanes)
        for first in range(0, work.y.channels, width)
    )
    together = -(-cut.columns // width)
    tiling = Tiling(1, cut.rows, 1, together, lanes, (1, 1, 1), False, False, True, tiles)
    residents = Residents(work, tiling, builder, store)
    results = Results(work, tiling, builder, residents)
    for start in range(0, len(tiles), together):
        group = tiles[start : start + together]
        for first in range(0, work.y.height, cut.rows):
            rows = min(cut.rows, work.y.height - first)
            s = SpatialTile(0, 1, first, rows, 0, 1, 0, 1, 0, lanes)
            block = results.place(s, group)
            entry = builder.next_accumulators()
            blocks = -(-rows // lanes)
            _pick(work, s, group, blocks, entry, residents)
            for place, tile in enumerate(group):
                at = entry + place * blocks * lanes
                results.drain(s, (tile,), 0, at, block, VectorMode.REQUANTIZE)
            results.store(s, block)


def _pick(
    work: Contraction,
    s: SpatialTile,
    group: tuple[ColumnTile, ...],
    blocks: int,
    entry: int,
    residents: Residents,
) -> None:
    """Append a COMPUTE of some rows: each block of them, of each column tile, by all of the
    identity's."""
    assert work.matrix is not None
    builder, lanes = residents.builder, residents.builder.config.rows
    patch = residents.patch(replace(s, row=0), 0)
    local = residents.matrix(group, range(s.row, s.row + s.rows), blocks, lanes)
    size = len(group) * blocks * lanes * builder.config.weight_pitch
    passes = len(group) * blocks
    fields = {
        "accumulate": 0,
        "maximum": int(work.reduction),
        "activation_signed": 0,
        "weight_signed": int(work.matrix.signed),
        "activation_zero": 0,
        "weight_zero": int(work.weight_zero[0]),
        "pad": 0,
        "rows": lanes,
        "y": 0,
        "x": 0,
        "address": patch.local,
        "y_limit": 1,
        "x_limit": lanes * lanes,
        "weight": local // builder.config.weight_pitch,
        "weight_stride": lanes,
        "accumulator": entry,
        "levels": jumps([
            Loop(lanes, 0, lanes, lanes), *[Loop(1)] * 5, Loop(passes),
        ]),
    }
    half = builder.config.accumulator_depth // 2
    start = entry // half * half
    builder.compute(
        fields,
        passes * minimum_pass(builder.config, lanes),
        [patch.covered, Range(Space.WEIGHT, local, local + size)],
        Range(Space.ACCUMULATOR, start, start + half),
    )
