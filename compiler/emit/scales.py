# SPDX-License-Identifier: Apache-2.0
"""Where the scales of blocks go: behind their codes on chip, and densely in memory.

VECTOR writes the scales of its pixels one after the other, which is not how a tensor has them when
its channels are cut. So memory holds them in the order in which they are made; who reads them looks
up where each is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.compiler.schedule.spatial import SpatialTile
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import index_fields

__all__ = ["ScaleRun", "Scales", "scale_places"]


@dataclass(frozen=True)
class ScaleRun:
    """Scales of one VECTOR: ``blocks`` of each of ``pixels`` of the layer, at ``address``."""

    address: int
    pixels: range
    blocks: range


class Scales:
    """Gives every VECTOR of a layer its run of scales, on chip and in memory."""

    def __init__(self, work: Contraction, config: AcceleratorConfig) -> None:
        assert work.blocks is not None
        self.work, self.config, self.blocks = work, config, work.blocks
        self._memory = work.blocks.address
        self._local = 0

    def begin(self, local: int) -> None:
        """Take on-chip addresses from ``local`` on."""
        self._local = local

    def take(self, s: SpatialTile, channel: int, channels: int) -> tuple[ScaleRun, int, int]:
        """Return the run of some channels of a tile, its bytes, and where it is on chip."""
        y, size, beat = self.work.y, self.blocks.channels, self.config.beat_bytes
        first = (s.image * y.height + s.row) * y.width + s.column
        blocks = range(channel // size, -(-(channel + channels) // size))
        run = ScaleRun(self._memory, range(first, first + s.pixels), blocks)
        length = s.pixels * len(blocks) * self.blocks.scale_bytes
        local = align_up(self._local, beat) + self._memory % beat
        self._memory += length
        self._local = local + length
        return run, length, local

    def fields(self, run: ScaleRun, channel: int) -> dict[str, int]:
        """Return VECTOR's fields that place its results in their tensor."""
        if not self.config.blocks.random:
            return {}
        channels = self.work.y.channels
        return index_fields(run.pixels.start * channels + channel, channels)


def scale_places(
    runs: Sequence[ScaleRun], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return the address of each byte of a layer's scales, pixels x blocks x bytes."""
    places = np.full(shape, -1, np.int64)
    for run in runs:
        size = (len(run.pixels), len(run.blocks), shape[2])
        bytes_ = run.address + np.arange(np.prod(size)).reshape(size)
        pixels, blocks = run.pixels, run.blocks
        places[pixels.start : pixels.stop, blocks.start : blocks.stop] = bytes_
    assert (places >= 0).all()
    return places
