# SPDX-License-Identifier: Apache-2.0
"""A tiled contraction as instructions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compiler.builder import ProgramBuilder, Transfer
from compiler.contraction import Contraction
from compiler.dependencies import Range, Space
from compiler.loops import Loop, jumps
from compiler.onchip import align_up
from compiler.packing import pack_identity, pack_parameters, pack_tile, pack_zero_row
from compiler.tiling import ColumnTile, Tiling, minimum_pass, pixel_pitch
from hw.isa import LoadTarget

__all__ = ["emit"]

_Store = Callable[[np.ndarray], int]


@dataclass(frozen=True)
class _Spatial:
    """Output pixels of a tile, and the input rows and columns that they need."""

    image: int
    images: int
    row: int
    rows: int
    column: int
    columns: int
    y0: int  # input rows y0 <= y < y1, clipped to the image; equal when all is padding
    y1: int
    x0: int
    x1: int

    @property
    def pixels(self) -> int:
        return self.images * self.rows * self.columns


@dataclass(frozen=True)
class _Patch:
    """Where an input patch lies on chip."""

    local: int
    row_pitch: int
    pixel_pitch: int
    image_pitch: int
    channels: int
    covered: Range


def _spatial_tiles(work: Contraction, t: Tiling) -> list[_Spatial]:
    def clip(first: int, count: int, axis: int, limit: int) -> tuple[int, int]:
        start = first * work.strides[axis] - work.pads[axis]
        stop = start + (count - 1) * work.strides[axis]
        stop += (work.kernel[axis] - 1) * work.dilations[axis] + 1
        start, stop = max(0, start), min(limit, stop)
        return (start, stop) if start < stop else (0, 0)

    tiles = []
    for image in range(0, work.y.images, t.images):
        images = min(t.images, work.y.images - image)
        for row in range(0, work.y.height, t.rows):
            rows = min(t.rows, work.y.height - row)
            y0, y1 = (0, work.x.height) if images > 1 else clip(row, rows, 0, work.x.height)
            for column in range(0, work.y.width, t.columns):
                columns = min(t.columns, work.y.width - column)
                x0, x1 = clip(column, columns, 1, work.x.width)
                if t.columns == work.y.width and t.channels == work.x.channels:
                    x0, x1 = 0, work.x.width  # whole rows are one run of bytes
                tiles.append(
                    _Spatial(image, images, row, rows, column, columns, y0, y1, x0, x1)
                )
    return tiles


class _Emitter:
    """Walks the tiles of one contraction; see `emit`."""

    def __init__(
        self, work: Contraction, tiling: Tiling, builder: ProgramBuilder, store: _Store
    ) -> None:
        self.work, self.t, self.builder = work, tiling, builder
        self.config = builder.config
        self.beat = self.config.beat_bytes
        self.store = store
        self.images: dict[object, tuple[int, int]] = {}  # packed bytes already in memory

    def run(self) -> None:
        t = self.t
        tiles = _spatial_tiles(self.work, t)
        groups = [t.tiles[i : i + t.group] for i in range(0, len(t.tiles), t.group)]
        if t.outputs_outer:
            for group in groups:
                for tile in tiles:
                    block = self._place_output(tile, group)
                    self._accumulate_and_drain(tile, group, block)
                    self._store_output(tile, group, block)
            return
        for tile in tiles:
            block = self._place_output(tile, t.tiles) if t.assemble else None
            for group in groups:
                part = block or self._place_output(tile, group)
                self._accumulate_and_drain(tile, group, part)
                if block is None:
                    self._store_output(tile, group, part)
            if block is not None:
                self._store_output(tile, t.tiles, block)

    # Input ---------------------------------------------------------------------------------

    def _patch(self, s: _Spatial, channel: int) -> _Patch:
        x, beat = self.work.x, self.beat
        count = min(self.t.channels, x.channels - channel)
        height, width = s.y1 - s.y0, s.x1 - s.x0
        start = (
            x.address + s.image * x.image_bytes + s.y0 * x.row_bytes + s.x0 * x.channels + channel
        )

        def local_pitch(length: int, pitch: int) -> int:
            aligned = start % beat == 0 and pitch % beat == 0
            least = align_up(length, beat) if aligned else length + 2 * beat
            return least + (pitch - least) % beat

        if count < x.channels:
            pixel = local_pitch(count, x.channels)
            row = local_pitch((width - 1) * pixel + count, x.row_bytes)
            image, size = height * row, height * row
        elif width < x.width:
            pixel = count
            row = local_pitch(width * count, x.row_bytes)
            image, size = height * row, height * row
        else:
            pixel, row, image = count, x.row_bytes, x.image_bytes
            size = (s.images - 1) * image + height * row
        size = max(size, 1) + 2 * beat
        key = (self.builder.layer, s, channel)
        base = self.builder.activations.find(key)
        fresh = base is None
        if base is None:
            base = self.builder.activations.place(key, size)
        local = base + start % beat
        if fresh and height * width:
            self._load_patch(s, start, local, count, pixel, row)
        covered = Range(Space.ACTIVATION, base, base + align_up(size, beat))
        return _Patch(local, row, pixel, image, count, covered)

    def _load_patch(
        self, s: _Spatial, start: int, local: int, count: int, pixel: int, row: int
    ) -> None:
        x, height, width = self.work.x, s.y1 - s.y0, s.x1 - s.x0
        load = self.builder.load
        target = LoadTarget.ACTIVATION
        if count == x.channels and width == x.width:
            length = (s.images - 1) * x.image_bytes + height * x.row_bytes
            load(target, Transfer(start, local, length))
        elif count == x.channels or width == 1:
            length = width * count if count == x.channels else count
            load(target, Transfer(start, local, length, height, x.row_bytes, row))
        else:
            for y in range(height):
                load(
                    target,
                    Transfer(
                        start + y * x.row_bytes, local + y * row, count, width, x.channels, pixel
                    ),
                )

    # Weights and parameters ------------------------------------------------------------------

    def _bring(
        self, target: LoadTarget, key: tuple[object, ...], make: Callable[[], np.ndarray]
    ) -> tuple[int, int]:
        """Return (local address, length) of packed bytes, loading them if they are not there."""
        builder = self.builder
        ring = builder.weights if target == LoadTarget.WEIGHT else builder.parameters
        if key not in self.images:
            packed = make()
            self.images[key] = self.store(packed), packed.size
        address, length = self.images[key]
        local = ring.find((builder.layer, key))
        if local is None:
            local = ring.place((builder.layer, key), length)
            builder.load(target, Transfer(address, local, length))
        return local, length

    def _weights(
        self, group: tuple[ColumnTile, ...], channel: int, chunk: tuple[slice, slice, slice]
    ) -> tuple[int, int]:
        def make() -> np.ndarray:
            if self.work.is_pool:
                return pack_identity(self.config).reshape(-1)
            packed = [pack_tile(self.work, g, self.t, self.config, channel) for g in group]
            return np.concatenate([p[chunk].reshape(-1) for p in packed])

        bounds = tuple((part.start, part.stop) for part in chunk)
        first = -1 if self.work.is_pool else group[0].output
        return self._bring(LoadTarget.WEIGHT, ("weights", first, channel, bounds), make)

    # Computing -------------------------------------------------------------------------------

    def _accumulate_and_drain(
        self, s: _Spatial, group: tuple[ColumnTile, ...], block: tuple[int, int, int]
    ) -> None:
        base = self.builder.next_accumulators()
        accumulate = False
        for channel in range(0, self.work.x.channels, self.t.channels):
            patch = self._patch(s, channel)
            count = min(self.t.channels, self.work.x.channels - channel)
            length = self._run_length(group[0], count)
            runs = -(-length // self.config.rows)
            wide = 1 if self.t.flat else self.work.kernel[1]
            nh, nw, nr = self.t.kernel
            for h in range(0, self.work.kernel[0], nh):
                for w in range(0, wide, nw):
                    for r in range(0, runs, nr):
                        chunk = (
                            slice(h, min(h + nh, self.work.kernel[0])),
                            slice(w, min(w + nw, wide)),
                            slice(r, min(r + nr, runs)),
                        )
                        self._compute(s, group, patch, channel, length, chunk, base, accumulate)
                        accumulate = True
            self._correct_zero(s, group, patch, length, base)
        for index, tile in enumerate(group):
            self._drain(s, tile, base + index * s.pixels, block, group)

    def _run_length(self, tile: ColumnTile, count: int) -> int:
        if self.t.flat:
            return self.work.kernel[1] * count
        return count if self.work.groups == 1 and not self.work.is_pool else tile.channels

    def _compute(
        self,
        s: _Spatial,
        group: tuple[ColumnTile, ...],
        patch: _Patch,
        channel: int,
        length: int,
        chunk: tuple[slice, slice, slice],
        base: int,
        accumulate: bool,
    ) -> None:
        work, config = self.work, self.config
        local, size = self._weights(group, channel, chunk)
        rows = min(length, config.rows)
        unsigned = work.weights is not None and work.weights.dtype == np.uint8
        self._compute_with(
            s, group, patch, length, chunk, base, accumulate,
            weight=local // config.weight_pitch,
            weight_range=Range(Space.WEIGHT, local, local + size),
            weight_stride=0 if work.is_pool else rows,
            weight_signed=int(not unsigned and not work.is_pool),
            weight_zero=0 if work.is_pool else int(work.weight_zero[group[0].output]),
            rows=rows,
        )  # fmt: skip

    def _correct_zero(
        self,
        s: _Spatial,
        group: tuple[ColumnTile, ...],
        patch: _Patch,
        length: int,
        base: int,
    ) -> None:
        """Columns with zero points of their own: add what the shared one left out."""
        zeros = self.work.weight_zero[group[0].output : group[0].output + group[0].outputs]
        if self.work.is_pool or (zeros == zeros[0]).all():
            return
        assert len(group) == 1 and self.work.kernel == (1, 1)
        tile, offset = pack_zero_row(zeros, int(zeros[0]), self.config)
        local, size = self._bring(
            LoadTarget.WEIGHT, ("zeros", group[0].output), lambda: tile.reshape(-1)
        )
        whole, rest = divmod(length, self.config.rows)
        parts = [(slice(0, whole), self.config.rows)] if whole else []
        parts += [(slice(whole, whole + 1), rest)] if rest else []
        for runs, rows in parts:
            self._compute_with(
                s, group, patch, length, (slice(0, 1), slice(0, 1), runs), base, True,
                weight=local // self.config.weight_pitch,
                weight_range=Range(Space.WEIGHT, local, local + size),
                weight_stride=0, weight_signed=0, weight_zero=offset, rows=rows,
            )  # fmt: skip

    def _compute_with(
        self,
        s: _Spatial,
        group: tuple[ColumnTile, ...],
        patch: _Patch,
        length: int,
        chunk: tuple[slice, slice, slice],
        base: int,
        accumulate: bool,
        *,
        weight: int,
        weight_range: Range,
        weight_stride: int,
        weight_signed: int,
        weight_zero: int,
        rows: int,
    ) -> None:
        work, config = self.work, self.config
        (kh, kw, kr) = chunk
        sh, sw = work.strides
        dh, dw = work.dilations
        pixel, row = patch.pixel_pitch, patch.row_pitch
        first = group[0].channel if work.groups > 1 or work.is_pool else 0
        y = s.row * sh - work.pads[0] + kh.start * dh
        x = (s.column * sw - work.pads[1] + kw.start * dw) * pixel + first
        x += kr.start * config.rows
        step = group[0].channels if work.is_pool else 0
        # Right of the patch nothing is valid: it ends at the image or at the last tap.
        limit = s.x1 * pixel - (pixel - patch.channels)
        levels = jumps([
            Loop(s.columns, 0, sw * pixel, sw * pixel),
            Loop(s.rows, sh, 0, sh * row),
            Loop(s.images, 0, 0, patch.image_pitch),
            Loop(kr.stop - kr.start, 0, config.rows, config.rows),
            Loop(kw.stop - kw.start, 0, dw * pixel, dw * pixel),
            Loop(kh.stop - kh.start, dh, 0, dh * row),
            Loop(len(group), 0, step, step),
        ])
        fields = {
            "accumulate": int(accumulate),
            "maximum": int(work.is_pool),
            "activation_signed": int(work.x_signed),
            "weight_signed": weight_signed,
            "activation_zero": work.x_zero,
            "weight_zero": weight_zero,
            "pad": work.pad,
            "rows": rows,
            "y": y,
            "x": x,
            "address": patch.local + (y - s.y0) * row + x - s.x0 * pixel,
            "y_limit": s.y1,
            "x_limit": max(0, limit),
            "weight": weight,
            "weight_stride": weight_stride,
            "accumulator": base,
            "levels": levels,
        }
        passes = len(group)
        for part in chunk:
            passes *= part.stop - part.start
        cycles = passes * max(s.pixels, minimum_pass(config, rows)) + 4
        entries = Range(Space.ACCUMULATOR, base, base + len(group) * s.pixels)
        self.builder.compute(fields, cycles, [patch.covered, weight_range], entries)

    # Output ----------------------------------------------------------------------------------

    def _outputs(self, group: tuple[ColumnTile, ...]) -> int:
        return sum(tile.outputs for tile in group)

    def _start(self, s: _Spatial, group: tuple[ColumnTile, ...]) -> int:
        y = self.work.y
        return (
            y.address + s.image * y.image_bytes + s.row * y.row_bytes
            + s.column * y.channels + group[0].output
        )  # fmt: skip

    def _place_output(
        self, s: _Spatial, group: tuple[ColumnTile, ...]
    ) -> tuple[int, int, int]:
        """Return (local address, pixel pitch, line pitch) of a block in the output buffer."""
        pixel = pixel_pitch(self.work, self.config, self._outputs(group))
        line = s.columns * pixel
        if s.columns < self.work.y.width:
            line += (self.work.y.row_bytes - line) % self.beat
        elif self._outputs(group) < self.work.y.channels:
            line += (self.work.y.row_bytes - line) % self.beat
        size = s.images * s.rows * line + self.beat
        base = self.builder.outputs.place((self.builder.layer, s, group[0].output), size)
        return base + self._start(s, group) % self.beat, pixel, line

    def _drain(
        self,
        s: _Spatial,
        tile: ColumnTile,
        entry: int,
        block: tuple[int, int, int],
        group: tuple[ColumnTile, ...],
    ) -> None:
        work, config = self.work, self.config
        local, size = self._bring(
            LoadTarget.PARAMETER,
            ("parameters", tile.output),
            lambda: pack_parameters(work, tile, config),
        )
        base, pixel, line = block
        first = 0 if self.t.assemble else group[0].output
        lines = s.images * s.rows
        fields = {
            "zero_point": work.y_zero,
            "low": work.low,
            "high": work.high,
            "accumulator": entry,
            "channels": tile.outputs,
            "parameter": local // (config.parameter_lanes * 16),
            "local": base + tile.output - first,
            "pixels": s.columns,
            "lines": lines,
            "pixel_pitch": pixel,
            "line_pitch": line,
        }
        start = base // self.beat * self.beat
        self.builder.vector(
            fields,
            [
                Range(Space.ACCUMULATOR, entry, entry + s.pixels),
                Range(Space.PARAMETER, local, local + size),
            ],
            Range(Space.OUTPUT, start, base + lines * line),
        )

    def _store_output(
        self, s: _Spatial, group: tuple[ColumnTile, ...], block: tuple[int, int, int]
    ) -> None:
        y = self.work.y
        base, pixel, line = block
        start, lines = self._start(s, group), s.images * s.rows
        outputs = self._outputs(group)
        if outputs == y.channels and s.columns == y.width:
            self.builder.store(Transfer(start, base, lines * y.row_bytes))
        elif outputs == y.channels:
            self.builder.store(
                Transfer(start, base, s.columns * outputs, lines, y.row_bytes, line)
            )
        elif s.columns == 1 and y.width == 1:
            self.builder.store(Transfer(start, base, outputs, lines, y.row_bytes, line))
        else:
            for index in range(lines):
                self.builder.store(
                    Transfer(
                        start + index * y.row_bytes, base + index * line, outputs, s.columns,
                        y.channels, pixel,
                    )
                )  # fmt: skip


def emit(work: Contraction, tiling: Tiling, builder: ProgramBuilder, store: _Store) -> None:
    """Append the instructions of ``work``.

    Parameters
    ----------
    store : callable
        Puts bytes (uint8) into memory, beat aligned, and returns their address.
    """
    _Emitter(work, tiling, builder, store).run()


