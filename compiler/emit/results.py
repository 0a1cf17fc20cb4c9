# SPDX-License-Identifier: Apache-2.0
"""The way out: accumulators through the requantizers into an output block, and its stores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from kiwicha.compiler.emit.bounds import bring_bounds
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.emit.residents import Residents
from kiwicha.compiler.emit.scales import Scales
from kiwicha.compiler.schedule.by_range import Dynamic, Shifted
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.depthwise import drains, walk_of
from kiwicha.compiler.schedule.footprint import line_pitch, pixel_pitch, scale_room
from kiwicha.compiler.schedule.packing import pack_parameters, parameter_bytes
from kiwicha.compiler.schedule.spatial import SpatialTile, spatial_tiles
from kiwicha.compiler.schedule.tiling import ColumnTile, Tiling
from kiwicha.compiler.schedule.windows import Windows, window_runs
from kiwicha.machine.isa import PARAMETER_BYTES, LoadTarget, VectorMode

__all__ = ["Block", "Results"]

_BY_SLOT = VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL


@dataclass(frozen=True)
class Block:
    """Output pixels of a spatial tile in the output buffer: ``channels`` bytes of each in memory,
    from byte ``channel`` of a pixel on."""

    local: int
    pixel_pitch: int
    line_pitch: int
    channel: int
    channels: int


class Results:
    """Places output blocks, fills them from the accumulators, and stores them."""

    def __init__(
        self, work: Contraction, tiling: Tiling, builder: ProgramBuilder, residents: Residents
    ) -> None:
        self.work, self.tiling, self.builder, self.residents = work, tiling, builder, residents
        self.beat = builder.config.beat_bytes
        self.drains = len(spatial_tiles(work, tiling)) * len(tiling.tiles)
        self._measured = 0
        self._added: Block | None = None
        self._operands = 0  # where those of the block are that was added to last
        self._scales = None if work.blocks is None else Scales(work, builder.config)

    def _address(self, s: SpatialTile, channel: int) -> int:
        y = self.work.written
        return (
            y.address + s.image * y.image_bytes + s.row * y.row_bytes
            + s.column * y.pixel_bytes + channel
        )

    def place(self, s: SpatialTile, group: tuple[ColumnTile, ...]) -> Block:
        """Take room for the results of some column tiles, aligned as they are in memory."""
        octets = self.work.octets
        first, outputs = group[0].output * octets, sum(tile.outputs for tile in group)
        pixel, channels = pixel_pitch(self.work, self.builder.config, outputs), outputs * octets
        line = line_pitch(self.work, self.builder.config, s.columns, outputs)
        spilled = s.columns * pixel - line if self.work.written.ragged else 0
        size = s.lines * line + spilled + self.beat
        room = scale_room(self.work, self.builder.config, s.pixels, outputs)
        base = self.builder.outputs.place((self.builder.layer, s, first), size + room)
        if self._scales is not None:
            self._scales.begin(base + size)
        return Block(base + self._address(s, first) % self.beat, pixel, line, first, channels)

    def drain(
        self,
        s: SpatialTile,
        group: tuple[ColumnTile, ...],
        first: int,
        entry: int,
        block: Block | None,
        mode: VectorMode,
    ) -> None:
        """Bring the accumulators of column tiles into their place in ``block``: of those of
        ``group`` that are drained together, from ``first`` on, whose accumulators begin at
        ``entry``.

        MEASURE and RANGE bring nothing anywhere, and ``block`` may be None.
        """
        work, config = self.work, self.builder.config
        tiles = group[first : first + work.drained]
        tile = _joined(tiles)
        local, size = self.parameters(group, first)
        fields = {
            "mode": mode,
            "zero_point": work.y_zero,
            "low": work.low,
            "high": work.high,
            "accumulator": entry,
            "channels": tile.outputs,
            "parameter": local // (config.parameter_lanes * PARAMETER_BYTES),
        }
        if len(tiles) > 1:
            fields |= {"tiles": len(tiles) - 1, "tile_entries": s.entries}
        reads = [
            Range(Space.ACCUMULATOR, entry, entry + len(tiles) * s.entries),
            Range(Space.PARAMETER, local, local + size),
        ]
        if self.builder.function is not None:
            table = self.residents.function(self.builder.function)
            fields |= {"function": 1, "table": table}
            reads.append(Range(Space.FUNCTION, table, table + 1))
        writes: list[Range] = []
        measures = mode in (VectorMode.MEASURE, VectorMode.RANGE)
        if work.addend is not None and block is not None and not measures:
            reads.append(self._covered(s, block, Space.ADDEND))
            fields["residual"] = 1
            if work.addend.table is not None:
                fields["sums"] = sums = self.residents.sums(work.addend.table)
                reads.append(Range(Space.SUMS, sums, sums + 1))
        by_range = self._by_range(mode, fields)
        if isinstance(by_range, Dynamic) and by_range.bounds is not None:
            bounds = by_range.bounds
            reads.append(bring_bounds(self.builder, self.residents.store, bounds))
        if by_range is not None:
            reads.append(Range(Space.SLOT, by_range.slot, by_range.slot + 1))
        if by_range is not None and by_range.target is not None:
            slot = Range(Space.SLOT, by_range.target, by_range.target + 1)
            (writes if measures else reads).append(slot)
        if isinstance(by_range, Shifted) and by_range.floor is not None and measures:
            reads.append(Range(Space.SLOT, by_range.floor, by_range.floor + 1))
        if measures:
            assert by_range is not None
            fields["begin"] = int(by_range.begin and self._measured == 0)
            self._measured += 1
            fields["settle"] = int(by_range.settle and self._measured == self.drains)
        else:
            assert block is not None
            fields["local"] = block.local + tile.output * work.octets - block.channel
            writes.append(self._covered(s, block, Space.OUTPUT))
            if work.second is not None:
                fields |= {"residual": 1, "scales": fields["local"] - block.local + self._operands}
                reads.append(self._covered(s, replace(block, local=self._operands), Space.REAL))
        if work.windows is not None:
            self._drain_windows(s, work.windows, block, fields, reads, writes)
            return
        parts = list(self._parts(s, block))
        if self._scales is None:
            for number, (offset, places) in enumerate(parts):
                part = {**fields, **places, "accumulator": entry + offset}
                if "local" in fields:
                    part["local"] += fields["local"]
                if work.second is not None:
                    part["scales"] += places.get("local", 0)
                if measures:
                    part["begin"] &= int(number == 0)
                    part["settle"] &= int(number + 1 == len(parts))
                if mode == VectorMode.RANGE:
                    part["relu"] &= part["settle"]
                    part["scales"] *= part["settle"]
                self.builder.vector(part, reads, writes, tile.output)
            return
        fields |= {**parts[0][1], "local": fields["local"]}
        run, length, where = self._scales.take(s, tile.output, tile.outputs)
        transfer = Transfer(run.address, where, length)
        fields |= {"scales": where, **self._scales.fields(run, tile.output)}
        writes.append(transfer.local_range(Space.OUTPUT, self.beat))
        self.builder.vector(fields, reads, writes, tile.output)
        self.builder.store(transfer)
        self.builder.scale_runs[self.builder.layer].append(run)

    def _by_range(self, mode: VectorMode, fields: dict[str, int]) -> Dynamic | Shifted | None:
        """Return what says how results follow from their range, and add what ``mode`` needs."""
        dynamic, shifted = self.work.dynamic, self.work.shifted
        if shifted is None:
            if dynamic is None or mode not in _BY_SLOT:
                return None
            fields |= {
                "slot": dynamic.slot, "relu": int(dynamic.relu),
                "function": int(self.work.slope is not None and self.work.offset is None),
                "table": dynamic.functions,
            }
            if dynamic.target is not None:
                fields["target"] = dynamic.target
            return dynamic
        fields["target"] = shifted.target
        if mode == VectorMode.RANGE:
            fields |= {
                "slot": shifted.slot, "zero_point": shifted.exponent, "low": 0,
                "high": shifted.bits, "relu": int(shifted.gradient),
                "scales": 0 if shifted.floor is None else 1 + shifted.floor,
            }
        else:
            masked = self.work.addend is not None and self.work.addend.table is None
            fields |= {"zero_point": int(shifted.gradient), "relu": int(masked)}
        return shifted

    def parameters(self, group: tuple[ColumnTile, ...], first: int) -> tuple[int, int]:
        """Return (local address, length) of the parameters of what is drained together; those of
        the whole group are loaded at once if they fit half of their memory."""
        work, config = self.work, self.builder.config
        if work.found is not None:
            return self.residents.found_parameters(work.found)
        parts = [
            _joined(group[start : start + work.drained])
            for start in range(0, len(group), work.drained)
        ]
        sizes = [parameter_bytes(part, config) for part in parts]
        place = first // work.drained
        if 2 * sum(sizes) > config.parameter_channels * PARAMETER_BYTES:
            parts, sizes, place = parts[place : place + 1], sizes[place : place + 1], 0
        local, _ = self.residents.constant(
            LoadTarget.PARAMETER,
            ("parameters", parts[0].output, len(parts)),
            lambda: np.concatenate([pack_parameters(work, part, config) for part in parts]),
        )
        return local + sum(sizes[:place]), sizes[place]

    def _drain_windows(
        self, s: SpatialTile, windows: Windows, block: Block | None, fields: dict[str, int],
        reads: list[Range], writes: list[Range],
    ) -> None:
        """Append a VECTOR for each run of windows that are alike."""
        runs = [*window_runs(windows, s.images, (s.row, s.rows), (s.column, s.columns))]
        for number, run in enumerate(runs):
            part = fields | {
                "accumulator": fields["accumulator"] + run.entry,
                "lines": run.lines, "pixels": run.pixels,
                "scales": run.scales, "tile_entries": run.tile_entries,
            }
            if block is not None and "local" in fields:
                place = run.line * block.line_pitch + run.pixel * block.pixel_pitch
                part |= {"local": fields["local"] + place, "pixel_pitch": block.pixel_pitch,
                         "line_pitch": block.line_pitch}
            else:
                part["begin"] &= int(number == 0)
                part["settle"] &= int(number + 1 == len(runs))
            self.builder.vector(part, reads, writes)

    def _parts(
        self, s: SpatialTile, block: Block | None
    ) -> Iterator[tuple[int, dict[str, int]]]:
        """Yield the VECTORs of a column tile as `depthwise.drains` does; one where no columns
        filter."""
        pixel, line = (0, 0) if block is None else (block.pixel_pitch, block.line_pitch)
        size = s.images, s.rows, s.columns
        walk = walk_of(self.work, self.builder.config, size) if self.tiling.filter else None
        yield from drains(walk, size, pixel, line)

    def _covered(self, s: SpatialTile, block: Block, space: Space) -> Range:
        start = block.local // self.beat * self.beat
        end = block.local + (s.lines - 1) * block.line_pitch
        return Range(space, start, end + max(block.line_pitch, s.columns * block.pixel_pitch))

    def load_addends(self, s: SpatialTile, block: Block) -> None:
        """Bring what a block's results are added to on chip, once."""
        if not self.work.adds or block is self._added:
            return
        self._added = block
        if self.work.second is not None:
            size = (s.lines - 1) * block.line_pitch + 3 * self.beat
            size += max(block.line_pitch, s.columns * block.pixel_pitch)
            place = self.builder.reals.place((self.builder.layer, s, block), size)
            self._operands = place + block.local % self.beat
            for run in self._runs(s, block, self.work.second):
                local = run.local - block.local + self._operands
                self.builder.load(LoadTarget.REAL, replace(run, local=local))
            return
        assert self.work.addend is not None
        if self.work.addend.table is not None:
            self.residents.sums(self.work.addend.table)
        for run in self._runs(s, block, self.work.addend.offset):
            self.builder.load(LoadTarget.ADDEND, run)

    def store(self, s: SpatialTile, block: Block) -> None:
        """Write a finished block to memory."""
        for run in self._runs(s, block):
            self.builder.store(run)

    def _runs(self, s: SpatialTile, block: Block, offset: int = 0) -> Iterator[Transfer]:
        """Yield a block's runs in as few transfers as its shape allows, ``offset`` further on in
        memory."""
        y, lines = self.work.written, s.lines
        start = self._address(s, block.channel) + offset
        if block.channels == y.channels and s.columns == y.width and (y.is_dense or y.ragged):
            yield Transfer(start, block.local, lines * y.row_bytes)
        elif block.channels == y.pixel_bytes:
            length = s.columns * block.channels
            yield Transfer(start, block.local, length, lines, y.row_bytes, block.line_pitch)
        elif y.width == 1:
            yield Transfer(
                start, block.local, block.channels, lines, y.row_bytes, block.line_pitch
            )
        else:
            for line in range(lines):
                yield Transfer(
                    start + line * y.row_bytes, block.local + line * block.line_pitch,
                    block.channels, s.columns, y.pixel_bytes, block.pixel_pitch,
                )


def _joined(tiles: tuple[ColumnTile, ...]) -> ColumnTile:
    return replace(tiles[0], outputs=sum(tile.outputs for tile in tiles))
