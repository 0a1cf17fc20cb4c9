# SPDX-License-Identifier: Apache-2.0
"""Columns that filter channels of their own: weights as rows of passes, and the passes."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.emit.places import filter_levels
from kiwicha.compiler.emit.residents import Patch, Residents
from kiwicha.compiler.emit.results import Results
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.depthwise import Walk, pack_pass, walk_of
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.compiler.schedule.spatial import SpatialTile
from kiwicha.compiler.schedule.tiling import ColumnTile
from kiwicha.machine.isa import LEVEL_REDUCTION, LoadTarget, WeightFormat

__all__ = ["Filters", "Group"]

Group = tuple[ColumnTile, ...]


class _Issue(Protocol):
    """Appends a COMPUTE, as the emitter of contractions does."""

    def __call__(
        self, s: SpatialTile, patch: Patch, places: dict[str, Any], entry: int, accumulate: bool,
        rows: int, weights: dict[str, int], cycles: int,
    ) -> None: ...


class Filters:
    """Lets columns filter: a pass for each few taps of the kernel."""

    def __init__(
        self, work: Contraction, residents: Residents, results: Results, issue: _Issue
    ) -> None:
        self.work, self.residents, self.results = work, residents, results
        self.config, self._issue = residents.builder.config, issue

    def run(
        self, s: SpatialTile, group: Group, entry: int,
        following: tuple[SpatialTile, Group] | None,
    ) -> None:
        """Filter a spatial tile into accumulators from ``entry`` on; ``following`` comes next."""
        work = self.work
        for term in range(work.works):
            walk, weights, patch = self._filtered(s, group, term)
            if work.works == 1 and following and self._leaves(patch, weights, *following):
                # A queue holds few COMPUTEs: behind them these would be loaded late.
                self._filtered(*following)
            self._passes(s, group, entry, term > 0, (walk, weights, patch))

    def _passes(
        self, s: SpatialTile, group: Group, entry: int, accumulate: bool,
        needed: tuple[Walk, dict[str, int], Patch],
    ) -> None:
        """Issue the passes of a walk, which add to what is there if they ``accumulate``."""
        work, config, (walk, weights, patch) = self.work, self.config, needed
        local, tiles = weights["local"], 1 if work.channelwise else len(group)
        for number, each in enumerate(walk.passes):
            # Lines of a tensor lie tile by tile, constants pass by pass.
            size, stride = tiles * each.rows * config.weight_pitch, each.rows
            after = size
            if work.matrix is not None:
                after, stride = each.rows * config.weight_pitch, walk.rows
                size = ((tiles - 1) * walk.rows + each.rows) * config.weight_pitch
            place, levels = filter_levels(work, s, walk, each, patch, group)
            steps = prod(level["count"] for level in levels[:LEVEL_REDUCTION])
            fields = {"filter": 1, "tail": each.tails[0], "line_tail": each.tails[1]}
            self._issue(
                s, patch, {**fields, **place, "levels": levels}, entry, accumulate or number > 0,
                each.rows,
                {**weights, "local": local, "stride": stride * (tiles > 1), "size": size},
                len(group) * max(steps, minimum_pass(config, each.rows)),
            )
            local += after

    def _filtered(
        self, s: SpatialTile, group: Group, term: int = 0
    ) -> tuple[Walk, dict[str, int], Patch]:
        """Bring on chip what filters need: first what does not wait for another layer."""
        work, config = self.work, self.config
        size = (s.images, s.rows, s.columns)
        walk = walk_of(work, config, size)
        assert walk is not None

        def pack() -> np.ndarray:
            return np.concatenate([
                pack_pass(work, each, walk.inner, tile.output, tile.outputs, config.weight_pitch)
                for each in walk.passes for tile in (group[:1] if work.channelwise else group)
            ])

        if work.channelwise:
            local, length = self.residents.constant(
                LoadTarget.WEIGHT, ("filter", size), lambda: pack().reshape(-1)
            )
            weights = {"local": local, "size": length, "signed": 0, "zero": 0}
        elif work.matrix is not None:
            local, length = self._lines(group, walk, term)
            signed = int(work.matrix.signed)
            weights = {"local": local, "size": length, "signed": signed, "zero": 0}
        else:
            key = ("filter", group[0].output, size)
            weights = self.residents.weights(key, pack, int(work.weight_zero[0]))
        if 2 * len(group) * config.weight_pitch <= config.parameter_channels:
            for first in range(0, len(group), work.drained):
                self.results.parameters(group, first)
        return walk, weights, self.residents.patch(s, 0, term)

    def _leaves(
        self, patch: Patch, weights: dict[str, int], s: SpatialTile, group: Group
    ) -> bool:
        """Whether what other filters need leaves these on chip."""
        walk = walk_of(self.work, self.config, (s.images, s.rows, s.columns))
        assert walk is not None
        rows = walk.rows * (1 if self.work.channelwise else len(group))
        local, covered = weights["local"], patch.covered
        size = self.residents.patch_size(s)
        return self.residents.builder.activations.leaves(covered.start, covered.stop, size) and (
            self.residents.builder.weights.leaves(
                local, local + weights["size"], rows * self.config.weight_pitch
            )
        )

    def _lines(self, group: Group, walk: Walk, term: int = 0) -> tuple[int, int]:
        """Return (local address, length) of ``work.matrix`` as the rows of a walk's passes, one a
        tap, column tile by column tile.

        Parameters
        ----------
        term : of what is summed up.
        """
        work, builder = self.work, self.residents.builder
        matrix, config = work.matrix, builder.config
        assert matrix is not None
        address = matrix.address + group[0].output
        address += term * work.summed.matrix if work.summed is not None else 0
        taps = [
            (down.first + i * down.every, across.first + k * across.every)
            for down, across in (each.taps for each in walk.passes)
            for i in range(down.count) for k in range(across.count)
        ]
        places = [address + row * matrix.row + column * matrix.column for row, column in taps]
        key = (tuple(places), len(group), "lines")
        tile = walk.rows * config.weight_pitch
        size = len(group) * tile
        local = builder.weights.find(key)
        if local is not None:
            return local, size
        local = builder.weights.place(key, size)
        # A line is cut where the array's columns end; tiles are narrower where it has fewer rows.
        narrow = group[0].outputs < config.columns
        parts = [[each] for each in group] if narrow else [group]
        for number, part in enumerate(parts):
            extent = sum(each.outputs for each in part)
            for first, count, pitch in _alike(places):
                start = first + part[0].output - group[0].output
                row = places.index(first)
                target = local + number * tile + row * config.weight_pitch
                transfer = Transfer(start, target, extent, count, pitch, tile)
                if count == 1 or pitch == extent:
                    transfer = Transfer(start, target, count * extent, local_pitch=tile)
                builder.load(
                    LoadTarget.WEIGHT, transfer, form=WeightFormat.ROWS, extent=extent,
                    touched=Range(Space.WEIGHT, local, local + size),
                )
        return local, size



def _alike(places: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (first, count, pitch) of places that follow each other at one distance."""
    first = 0
    while first < len(places):
        count, pitch = 1, 0
        if first + 1 < len(places):
            pitch = places[first + 1] - places[first]
            while first + count < len(places) and (
                places[first + count] - places[first + count - 1] == pitch
            ):
                count += 1
        yield places[first], count, pitch if count > 1 else 0
        first += count
