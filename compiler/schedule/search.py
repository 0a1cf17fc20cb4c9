# SPDX-License-Identifier: Apache-2.0
"""Chooses the tiling of a contraction."""

from kiwicha.compiler.schedule.compress import storage
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.enough import too_small
from kiwicha.compiler.schedule.estimate import estimate
from kiwicha.compiler.schedule.tiling import Tiling, legal_tilings
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["choose_tiling"]


def choose_tiling(work: Contraction, config: AcceleratorConfig, times: int = 1) -> Tiling:
    """Return the tiling with the fewest estimated cycles, then the fewest bytes moved.

    Parameters
    ----------
    times : how many works of this kind follow each other.

    Raises
    ------
    KiwichaError
        When not even one output pixel fits; names the layer and the memories.
    """
    tilings = list(legal_tilings(work, config))
    if not tilings:
        raise too_small(
            f"{work.name} ({work.op}): one output pixel does not fit half of the machine's "
            "memories", config, ["activation_bytes", "output_bytes"],
            lambda other: any(True for _ in legal_tilings(work, other)),
        )
    stored = storage(work, tilings[0], config)
    return min(
        tilings, key=lambda t: estimate(work, config, t, times * _rounds(work, t), stored)
    )


def _rounds(work: Contraction, t: Tiling) -> int:
    """How often the work is done: once for each mode, unless the accumulators hold all results."""
    whole = t.pixels == work.y.images * work.y.height * work.y.width
    return 1 if whole and t.group == len(t.tiles) else len(work.modes)
