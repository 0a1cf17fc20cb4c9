# SPDX-License-Identifier: Apache-2.0
"""A tiled contraction as instructions."""

from itertools import product
from typing import Any

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.filters import Filters
from kiwicha.compiler.emit.places import accumulator_half, line_runs, place_of, taps_of
from kiwicha.compiler.emit.residents import Patch, Residents, StoreConstant
from kiwicha.compiler.emit.results import Block, Results
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.compiler.schedule.kept import kept_entries
from kiwicha.compiler.schedule.loops import Loop, jumps
from kiwicha.compiler.schedule.packing import pack_identity, pack_tile, pack_zero_rows
from kiwicha.compiler.schedule.spatial import SpatialTile, spatial_tiles
from kiwicha.compiler.schedule.tiling import ColumnTile, Tiling
from kiwicha.machine.isa import LoadTarget, VectorMode

__all__ = ["emit"]

_Group = tuple[ColumnTile, ...]
_Chunk = tuple[slice, slice, slice]  # kernel rows, kernel columns, runs


def emit(
    work: Contraction, tiling: Tiling, builder: ProgramBuilder, store: StoreConstant
) -> None:
    """Append the instructions of ``work``, in an order that is correct one after the other."""
    _Emitter(work, tiling, builder, store).run()


class _Emitter:
    def __init__(
        self, work: Contraction, tiling: Tiling, builder: ProgramBuilder, store: StoreConstant
    ) -> None:
        self.work, self.t, self.builder = work, tiling, builder
        self.config = builder.config
        self.residents = Residents(work, tiling, builder, store)
        self.results = Results(work, tiling, builder, self.residents)
        self.filters = Filters(work, self.residents, self.results, self._issue)
        self.modes = work.modes
        # The accumulators of tiles that stay there until all have been measured.
        self.kept: dict[tuple[SpatialTile, _Group], int] = {}
        # What reaches into the next row is of a later tile than what has to overwrite it.
        self.order = -1 if work.y.ragged else 1
        # The spatial tile and column tiles that follow others.
        self.following: dict[tuple[SpatialTile, _Group], tuple[SpatialTile, _Group]] = {}
        # The first layer's patch is there.
        self.ahead = work.adds and builder.outputs.turned > 0
        # The last tiles that were packed: their parts are asked for one after the other.
        self.packed: tuple[tuple[_Group, int] | None, list[np.ndarray]] = (None, [])

    def run(self) -> None:
        """All modes drain the same accumulators where those hold all results, at once or piece by
        piece; else the layer is computed once for each."""
        t = self.t
        tiles = spatial_tiles(self.work, t)
        together = t.together(self.work)
        groups = [t.tiles[i : i + together] for i in range(0, len(t.tiles), together)]
        if len(tiles) * len(groups) == 1:
            self._walk(tiles, groups)
            return
        if self.work.shifted is not None and len(self.work.modes) > 1:
            self._keep(self._ordered(tiles, groups))
        for mode in self.work.modes:
            self.modes = (mode,)
            self._walk(tiles, groups)

    def _walk(self, tiles: list[SpatialTile], groups: list[_Group]) -> None:
        """Compute all tiles of all groups."""
        t = self.t
        order = self._ordered(tiles, groups)
        self.following = dict(zip(order, order[1:], strict=False))
        if t.outputs_outer or not t.assemble:
            for tile, group in order:
                self._finish(tile, group)
        else:
            for tile in tiles:
                block = self._place(tile, t.tiles)
                for group in groups[:: self.order]:
                    self._accumulate(tile, group, block)
                if block is not None:
                    self.results.store(tile, block)

    def _ordered(
        self, tiles: list[SpatialTile], groups: list[_Group]
    ) -> list[tuple[SpatialTile, _Group]]:
        if self.t.outputs_outer:
            return [(tile, group) for group in groups for tile in tiles]
        return [(tile, group) for tile in tiles for group in groups]

    def _keep(self, order: list[tuple[SpatialTile, _Group]]) -> None:
        """Give all tiles accumulators of their own, where there are so many."""
        sizes = [tile.entries * len(group) for tile, group in order]
        entries = kept_entries(sizes, self.config.accumulator_depth)
        self.kept = dict(zip(order, entries or (), strict=False))

    def _finish(self, s: SpatialTile, group: _Group) -> None:
        """Compute a group's results and store them at once."""
        block = self._place(s, group)
        self._accumulate(s, group, block)
        if block is not None:
            self.results.store(s, block)

    def _place(self, s: SpatialTile, group: _Group) -> Block | None:
        """Take room for results, but for those that are only measured."""
        if self.modes in ((VectorMode.MEASURE,), (VectorMode.RANGE,)):
            return None
        block = self.results.place(s, group)
        if self.ahead:
            # While the first patch is still being written by the layer before.
            self.ahead = False
            self.results.load_addends(s, block)
        return block

    def _accumulate(self, s: SpatialTile, group: _Group, block: Block | None) -> None:
        """Reduce a spatial tile over all its input into accumulators, and drain them."""
        entry = self.kept.get((s, group), -1)
        if entry < 0 or self.modes == (VectorMode.RANGE,):
            entry = self.builder.next_accumulators() if entry < 0 else entry
            for first in range(0, len(group), self.t.group):
                self._reduce(s, group[first : first + self.t.group], entry + first * s.entries)
        if block is not None:
            self.results.load_addends(s, block)
        for mode in self.modes:
            for first in range(0, len(group), self.work.drained)[:: self.order]:
                self.results.drain(s, group, first, entry + first * s.entries, block, mode)

    def _reduce(self, s: SpatialTile, group: _Group, entry: int) -> None:
        """Reduce a spatial tile over all its input into accumulators from ``entry`` on."""
        work, (nh, nw, nr) = self.work, self.t.kernel
        if self.t.filter:
            self.filters.run(s, group, entry, self.following.get((s, group)))
            return
        accumulate = False
        channels = range(0, work.x.channels, self.t.channels)
        for term, channel in product(range(work.works), channels):
            patch = self.residents.patch(s, channel, term)
            length = self._run_length(group[0], patch.channels)
            wide = 1 if self.t.flat else work.kernel[1]
            for h in range(0, work.kernel[0], nh):
                for w in range(0, wide, nw):
                    for part, rows in line_runs(work, self.config, length, nr):
                        chunk = (
                            slice(h, min(h + nh, work.kernel[0])),
                            slice(w, min(w + nw, wide)),
                            part,
                        )
                        weights = self._weights(group, channel, chunk, rows, term)
                        self._compute(s, group, patch, chunk, entry, accumulate, rows, weights)
                        accumulate = True
            self._correct_zero(s, group, patch, length, entry)

    def _run_length(self, tile: ColumnTile, channels: int) -> int:
        """Neighbouring bytes that one kernel tap (or row, when flat) reduces over."""
        if self.t.flat:
            return self.work.kernel[1] * channels
        whole = self.work.groups == 1 and not self.work.channelwise
        return channels if whole else tile.channels

    def _weights(
        self, group: _Group, channel: int, chunk: _Chunk, rows: int, term: int
    ) -> dict[str, int]:
        """Bring weights on chip; return the fields of COMPUTE that concern them, and their size."""
        work = self.work

        def pack() -> np.ndarray:
            if self.packed[0] != (group, channel):
                tiles = [pack_tile(work, tile, self.t, self.config, channel) for tile in group]
                self.packed = (group, channel), tiles
            pitch = self.config.weight_pitch
            return np.concatenate([tile[chunk].reshape(-1, pitch) for tile in self.packed[1]])

        if work.channelwise:
            local, size = self.residents.constant(
                LoadTarget.WEIGHT, "identity", lambda: pack_identity(self.config).reshape(-1)
            )
            return {"local": local, "size": size, "stride": 0, "signed": 0, "zero": 0}
        zero = int(work.weight_zero[group[0].output])
        if work.matrix is not None:
            runs = chunk[2].stop - chunk[2].start
            first = channel + chunk[2].start * self.config.rows
            depth = work.kernel[1] if self.t.flat else work.x.channels
            end = min(first + runs * rows, depth)
            taps = taps_of(*chunk[:2])
            local = self.residents.matrix(group, range(first, end), runs, rows, taps, term)
            size = len(group) * len(taps) * runs * rows * self.config.weight_pitch
            signed = int(work.matrix.signed)
            return {"local": local, "size": size, "stride": rows, "signed": signed, "zero": zero}
        bounds = tuple((part.start, part.stop) for part in chunk)
        key = ("weights", group[0].output, channel, bounds)
        return {**self.residents.weights(key, pack, zero), "stride": rows}

    def _correct_zero(
        self, s: SpatialTile, group: _Group, patch: Patch, length: int, entry: int
    ) -> None:
        """Columns with zero points of their own: add what the shared one left out."""
        zeros = self.work.weight_zero[group[0].output : group[0].output + group[0].outputs]
        if self.work.found is not None:
            local, size = self.residents.found_zeros(self.work.found)
            zero = 255
        elif self.work.channelwise or (zeros == zeros[0]).all():
            return
        else:
            tile, zero = pack_zero_rows(self.work, group[0], self.config)
            local, size = self.residents.constant(
                LoadTarget.WEIGHT, ("zeros", group[0].output), lambda: tile.reshape(-1)
            )
        weights = {"local": local, "size": size, "stride": 0, "signed": 0, "zero": zero}
        # Every row of this tile counts, so the last run must not reach past the input.
        whole, rest = divmod(length, self.config.rows)
        parts = [(slice(0, whole), self.config.rows)] if whole else []
        parts += [(slice(whole, whole + 1), rest)] if rest else []
        for runs, rows in parts:
            chunk = (slice(0, self.work.kernel[0]), slice(0, self._wide()), runs)
            self._compute(s, group, patch, chunk, entry, True, rows, weights)

    def _wide(self) -> int:
        return 1 if self.t.flat else self.work.kernel[1]

    def _compute(
        self,
        s: SpatialTile,
        group: _Group,
        patch: Patch,
        chunk: _Chunk,
        entry: int,
        accumulate: bool,
        rows: int,
        weights: dict[str, int],
    ) -> None:
        work, config = self.work, self.config
        kh, kw, kr = chunk
        (sh, sw), (dh, dw) = work.strides, work.dilations
        pixel, row = patch.pixel_pitch, patch.row_pitch
        first = group[0].channel if work.groups > 1 or work.channelwise else 0
        step = group[0].channels if work.channelwise else 0
        (top, bottom), (left, right) = s.computed
        places = {
            **place_of(work, s, patch, (kh.start, kw.start), first + kr.start * config.rows),
            "levels": jumps([
                Loop(right - left, 0, sw * pixel, sw * pixel),
                Loop(bottom - top, sh, 0, sh * row),
                Loop(s.images, 0, 0, patch.image_pitch),
                Loop(kr.stop - kr.start, 0, config.rows, config.rows),
                Loop(kw.stop - kw.start, 0, dw * pixel, dw * pixel),
                Loop(kh.stop - kh.start, dh, 0, dh * row),
                Loop(len(group), 0, step, step),
            ]),
        }
        passes = len(group)
        for part in chunk:
            passes *= part.stop - part.start
        cycles = passes * max(s.entries, minimum_pass(config, rows))
        self._issue(s, patch, places, entry, accumulate, rows, weights, cycles)

    def _issue(
        self,
        s: SpatialTile,
        patch: Patch,
        places: dict[str, Any],
        entry: int,
        accumulate: bool,
        rows: int,
        weights: dict[str, int],
        cycles: int,
    ) -> None:
        """Append a COMPUTE that walks as ``places`` says."""
        work, pixel = self.work, patch.pixel_pitch
        fields = {
            **places,
            "accumulate": int(accumulate),
            "maximum": int(work.reduction),
            "activation_signed": int(work.x_signed),
            "weight_signed": weights["signed"],
            "activation_zero": work.x_zero,
            "weight_zero": weights["zero"],
            "pad": work.pad,
            "rows": rows,
            "y_limit": s.y1,
            # Right of the patch nothing is valid: it ends at the image or at the last tap.
            "x_limit": max(0, s.x1 * pixel - (pixel - patch.channels)),
            "weight": weights["local"] // self.config.weight_pitch,
            "weight_stride": weights["stride"],
            "accumulator": entry,
        }
        local, size = weights["local"], weights["size"]
        reads = [patch.covered, Range(Space.WEIGHT, local, local + size)]
        if work.dynamic is not None and work.dynamic.zero:
            slot = work.dynamic.slot
            fields |= {"dynamic": 1, "slot": slot}
            reads.append(Range(Space.SLOT, slot, slot + 1))
        self.builder.compute(fields, cycles, reads, accumulator_half(self.config, entry))
