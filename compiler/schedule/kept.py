# SPDX-License-Identifier: Apache-2.0
"""Results that stay in the accumulators until all of them are there: those that are shifted by the
range of all of a tensor are computed once then."""

from collections.abc import Sequence
from math import prod

from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.tiling import Tiling
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["keeps", "kept_entries"]


def kept_entries(sizes: Sequence[int], depth: int) -> list[int] | None:
    """Return the first accumulator entry of each of some tiles, the halves in turn as far as they
    go, so that one is drained while the other is computed in; None where they do not fit.

    Parameters
    ----------
    sizes : entries of the tiles in their order; depth : of the accumulators.
    """
    half, used, found = depth // 2, [0, 0], []
    for number, size in enumerate(sizes):
        side = number % 2
        if used[side] + size > half:
            side ^= 1
        if used[side] + size > half:
            return None
        found.append(side * half + used[side])
        used[side] += size
    return found


def keeps(work: Contraction, t: Tiling, config: AcceleratorConfig) -> bool:
    """Whether the accumulators surely hold all results of a work that is shifted by their range."""
    if work.shifted is None or len(work.modes) < 2:
        return False
    y, together = work.y, t.together(work)
    counts = ((y.images, t.images), (y.height, t.rows), (y.width, t.columns),
              (len(t.tiles), together))
    tiles = prod(-(-whole // part) for whole, part in counts)
    return -(-tiles // 2) * t.entries(work) * together <= config.accumulator_depth // 2
