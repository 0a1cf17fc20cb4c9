# SPDX-License-Identifier: Apache-2.0
"""What a layer reads, brought on chip when it is not there yet: patches, weights, parameters."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kiwicha.compiler.emit.beside import load_beside
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.schedule.compress import PlacedWeights, compress
from kiwicha.compiler.schedule.contraction import Contraction, Found
from kiwicha.compiler.schedule.onchip import Ring, align_up
from kiwicha.compiler.schedule.spatial import SpatialTile
from kiwicha.compiler.schedule.tiling import ColumnTile, Tiling
from kiwicha.machine.isa import FUNCTION_ENTRIES, SUM_BEATS, LoadTarget, WeightFormat

__all__ = ["Patch", "Residents", "StoreConstant"]

StoreConstant = Callable[[np.ndarray], int]
"""Puts bytes into memory, beat aligned, and returns their address."""


@dataclass(frozen=True)
class Patch:
    """The input of a spatial tile on chip: ``channels`` channels, with these pitches in bytes."""

    local: int
    row_pitch: int
    pixel_pitch: int
    image_pitch: int
    channels: int
    covered: Range


class _Lines(NamedTuple):
    """Weight tiles of whole lines: bytes of all, from column tile to column tile, and to the first
    that is needed."""

    size: int
    pitch: int
    offset: int


class Residents:
    """Loads what is asked for, unless the ring it would lie in still holds it."""

    def __init__(
        self, work: Contraction, tiling: Tiling, builder: ProgramBuilder, store: StoreConstant
    ) -> None:
        self.work, self.tiling, self.builder, self.store = work, tiling, builder, store
        self.beat = builder.config.beat_bytes
        self._images: dict[Hashable, tuple[int, int]] = {}  # packed bytes already in memory
        self._weights: dict[Hashable, PlacedWeights] = {}

    def constant(
        self, target: int, key: Hashable, make: Callable[[], np.ndarray]
    ) -> tuple[int, int]:
        """Return (local address, length) of packed weights or parameters.

        ``make`` packs the bytes, the first time that ``key`` is asked for.
        """
        builder = self.builder
        ring = builder.weights if target == LoadTarget.WEIGHT else builder.parameters
        if key not in self._images:
            packed = make()
            self._images[key] = self.store(packed), packed.size
        # What lies at an address never changes, so that other layers may find it too.
        place = address, length = self._images[key]
        local = ring.find(place)
        if local is None:
            local = ring.place(place, length)
            builder.load(target, Transfer(address, local, length))
        return local, length

    def found_parameters(self, found: Found) -> tuple[int, int]:
        """Return (local address, length) of parameters that the machine makes itself."""
        place = found.parameters, found.size
        local = self.builder.parameters.find(place)
        if local is None:
            local = self.builder.parameters.place(place, found.size)
            self.builder.load(LoadTarget.PARAMETER, Transfer(place[0], local, found.size))
        return local, found.size

    def found_zeros(self, found: Found) -> tuple[int, int]:
        """Return (local address, length) of a tile that holds zero points in every row."""
        config = self.builder.config
        place, size = (found.zeros, "zeros"), config.rows * config.weight_pitch
        local = self.builder.weights.find(place)
        if local is None:
            local = self.builder.weights.place(place, size)
            width = min(self.work.y.channels, config.columns)
            self.builder.load(
                LoadTarget.WEIGHT, Transfer(found.zeros, local, width, config.rows, 0, size),
                form=WeightFormat.ROWS, extent=width,
                touched=Range(Space.WEIGHT, local, local + size),
            )
        return local, size

    def weights(
        self, key: Hashable, make: Callable[[], np.ndarray], zero: int
    ) -> dict[str, int]:
        """Return where constant weights are on chip, their bytes, and how COMPUTE reads them.

        ``make`` packs the rows, the first time that ``key`` is asked for.
        """
        work, builder = self.work, self.builder
        assert work.weights is not None
        if key not in self._weights:
            signed = work.weights.dtype == np.int8
            made = compress(make(), builder.config, signed=signed, zero=zero)
            self._weights[key] = made.placed(self.store(made.octets))
            builder.stored[builder.layer].append(self._weights[key])
        stored = self._weights[key]
        place = (stored.address, stored.length, stored.form, stored.pitch)
        local = builder.weights.find(place)
        if local is None:
            # No super-row of the scratchpad is shared with other weights: rings keep to those.
            local = builder.weights.place(place, stored.size)
            builder.load(
                LoadTarget.WEIGHT,
                Transfer(stored.address, local, stored.length, pitch=stored.pitch),
                form=stored.form,
                decoding=stored.cycles,
                dense=0 if stored.form == WeightFormat.DENSE else stored.size,
                touched=Range(Space.WEIGHT, local, local + stored.size),
            )
        return {
            "local": local, "size": stored.size, "signed": int(stored.signed), "zero": stored.zero,
        }

    def function(self, table: np.ndarray) -> int:
        """Return which of VECTOR's tables is this one."""
        ring, target = self.builder.functions, LoadTarget.FUNCTION
        return self._table(table, ring, target, Space.FUNCTION, FUNCTION_ENTRIES)

    def sums(self, table: np.ndarray) -> int:
        """Return which of VECTOR's pairs of tables for sums is this one."""
        ring, target = self.builder.sums, LoadTarget.SUMS
        return self._table(table, ring, target, Space.SUMS, SUM_BEATS * self.beat)

    def _table(
        self, table: np.ndarray, ring: Ring, target: LoadTarget, space: Space, pitch: int
    ) -> int:
        """Return which table of a memory of VECTOR's, ``pitch`` bytes each, is this one."""
        address = self.store(table)
        found = ring.find(address)
        if found is None:
            found = ring.place(address, 1)
            self.builder.load(
                target, Transfer(address, found * pitch, table.size),
                touched=Range(space, found, found + 1),
            )
        return found

    def matrix(
        self, group: Sequence[ColumnTile], depth: range, runs: int, rows: int,
        taps: Sequence[tuple[int, int]] = ((0, 0),), term: int = 0,
    ) -> int:
        """Return the local address of a part of ``work.matrix`` as weight tiles.

        Column tiles lie one after the other, each of ``runs`` tiles of ``rows`` rows for each tap;
        rows beyond ``depth`` hold whatever was there.

        Parameters
        ----------
        depth : lines of inputs; of a kernel row where its columns are one run.
        taps : kernel row and column of each.
        term : of what is summed up.
        """
        work, builder = self.work, self.builder
        matrix = work.matrix
        assert matrix is not None
        first, outputs = group[0].output, sum(tile.outputs for tile in group)
        flat = self.tiling.flat
        line = matrix.column if flat else matrix.pitch
        if matrix.form == WeightFormat.ROWS:
            address = matrix.address + depth.start * line + first
            lines, extent, byte = len(depth), outputs, first
        else:
            address = matrix.address + first * line + depth.start
            lines, extent, byte = outputs, len(depth), depth.start
        address += term * work.summed.matrix if work.summed is not None else 0
        tile = runs * rows * builder.config.weight_pitch
        pitch = len(taps) * tile
        size, offset = len(group) * pitch, 0
        if matrix.within is not None and extent < line and len(taps) == 1:
            whole = self._whole_lines(matrix.form, line, matrix.within + byte, pitch, rows)
            if whole is not None and (len(group) == 1 or whole.pitch == pitch):
                address, extent = address - matrix.within - byte, line
                size, pitch, offset = whole.size, whole.pitch, whole.offset
        key = (address, matrix.form, lines, extent, line, pitch, tuple(taps))
        local = builder.weights.find(key)
        if local is not None:
            return local + offset
        local = builder.weights.place(key, size)
        adjacent = lines == 1 or line == extent
        touched = Range(Space.WEIGHT, local, local + size)
        for place, (high, wide) in enumerate(taps):
            start = address + high * matrix.row + (0 if flat else wide * matrix.column)
            transfer = (
                Transfer(start, local + place * tile, lines * extent, local_pitch=pitch)
                if adjacent
                else Transfer(start, local + place * tile, extent, lines, line, pitch)
            )
            builder.load(
                LoadTarget.WEIGHT, transfer, form=matrix.form, extent=extent, touched=touched
            )
        return local + offset

    def _whole_lines(
        self, form: WeightFormat, line: int, first: int, pitch: int, rows: int
    ) -> _Lines | None:
        """Return how whole lines of ``line`` bytes are loaded of which byte ``first`` is the first
        that is needed, with others' to be needed later; None where they do not lie as they have to.

        Parameters
        ----------
        pitch, rows : bytes and rows of a column tile of what is needed, and rows of an array tile.
        """
        config = self.builder.config
        if form == WeightFormat.ROWS:
            tile, rest = divmod(first, config.columns)
            found = _Lines(-(-line // config.columns) * pitch, pitch, tile * pitch)
        else:
            rest = first % rows + line % rows
            high = line * config.weight_pitch
            found = _Lines(high, high, first * config.weight_pitch)
        fits = self.builder.weights.unit <= pitch and 4 * found.size <= config.weight_bytes
        return found if rest == 0 and fits else None

    def patch_size(self, s: SpatialTile) -> int:
        """Return the bytes of a tile's input on chip."""
        return self._shape(s, 0)[-1]

    def patch(self, s: SpatialTile, channel: int, term: int = 0) -> Patch:
        """Return a tile's input from input channel ``channel`` on; ``term`` as of `matrix`."""
        if self.work.beside is not None:
            return self._beside(s)
        x, height, width = self.work.x, s.y1 - s.y0, s.x1 - s.x0
        start, count, pixel, row, size = self._shape(s, channel)
        start += term * self.work.summed.x if self.work.summed is not None else 0
        image = x.image_bytes
        key = (start, s.images, height, width, count, pixel, row, image)
        base = self.builder.activations.find(key)
        if base is None:
            base = self.builder.activations.place(key, size)
            if height * width:
                with self.builder.filling(LoadTarget.ACTIVATION, key, base, size):
                    self._load_patch(s, start, base + start % self.beat, count, pixel, row)
        covered = Range(Space.ACTIVATION, base, base + align_up(size, self.beat))
        return Patch(base + start % self.beat, row, pixel, image, count, covered)

    def _beside(self, s: SpatialTile) -> Patch:
        """Return the input of a tile whose rows lie beside each other, all channels."""
        pixel = self.work.x.channels
        row = (s.x1 - s.x0) * pixel
        image = (s.y1 - s.y0) * row
        size = max(s.images * image, 1)
        key = (self.work.beside, s.image, s.images, s.y0, s.y1, s.x0, s.x1)
        base = self.builder.activations.find(key)
        if base is None:
            base = self.builder.activations.place(key, size)
            if image:
                load_beside(self.work, s, self.builder, self._line, base)
        covered = Range(Space.ACTIVATION, base, base + align_up(size, self.beat))
        return Patch(base, row, pixel, image, pixel, covered)

    def _line(self, line: np.ndarray) -> int:
        """Return the address of a constant line, which is in memory once."""
        key = ("line", line.tobytes())
        if key not in self._images:
            self._images[key] = self.store(line), line.size
        return self._images[key][0]

    def _shape(self, s: SpatialTile, channel: int) -> tuple[int, int, int, int, int]:
        """Return a patch's first byte in memory, its channels, the bytes on chip from pixel to
        pixel and from row to row, and those of all."""
        x = self.work.x
        count = min(self.tiling.channels, x.channels - channel)
        height, width = s.y1 - s.y0, s.x1 - s.x0
        start = (
            x.address + s.image * x.image_bytes + s.y0 * x.row_bytes + s.x0 * x.pixel_bytes
            + channel
        )
        pixel, row = count, x.row_bytes
        if count < x.pixel_bytes:
            pixel = self._local_pitch(start, count, x.pixel_bytes)
            row = self._local_pitch(start, (width - 1) * pixel + count, x.row_bytes)
        elif width < x.width or not x.is_dense:
            row = self._local_pitch(start, width * count, x.row_bytes)
        size = max((s.images - 1) * x.image_bytes + height * row, 1) + 2 * self.beat
        return start, count, pixel, row, size

    def _local_pitch(self, start: int, length: int, pitch: int) -> int:
        """Bytes from run to run on chip: congruent to ``pitch``, and no run touches the next.

        LOAD writes whole beats, so a run that is not aligned needs a beat to spare on each side.
        """
        beat = self.beat
        aligned = start % beat == 0 and pitch % beat == 0
        least = align_up(length, beat) if aligned else length + 2 * beat
        return least + (pitch - least) % beat

    def _load_patch(
        self, s: SpatialTile, start: int, local: int, count: int, pixel: int, row: int
    ) -> None:
        x, height, width = self.work.x, s.y1 - s.y0, s.x1 - s.x0

        def load(*transfer: int) -> None:
            self.builder.load(LoadTarget.ACTIVATION, Transfer(*transfer))

        if count == x.channels and width == x.width and x.is_dense:
            load(start, local, (s.images - 1) * x.image_bytes + height * x.row_bytes)
        elif count == x.pixel_bytes:
            load(start, local, width * count, height, x.row_bytes, row)
        elif width == 1:
            load(start, local, count, height, x.row_bytes, row)
        else:
            for y in range(height):
                load(
                    start + y * x.row_bytes, local + y * row, count, width, x.pixel_bytes, pixel
                )
