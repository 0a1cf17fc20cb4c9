# SPDX-License-Identifier: Apache-2.0
"""Sums and instructions that find faults in the modes RANGE and SHIFT."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode

__all__ = ["TRAINING", "shift_fields", "words_for"]

TRAINING: dict[str, Any] = {
    "training": {"classes": 16}, "residual": {"tables": 2}, "special": {"lanes": 1},
    "transposer": True,
}
"""What a machine that learns has at least."""


def words_for(rng: np.random.Generator, shift: int, count: int) -> npt.NDArray[np.int64]:
    """Return int32 numbers: corners, whatever, and such whose quotients lie near bounds and halves
    or whose dropped bits have halves that are alike."""
    low, high = -(1 << 31), (1 << 31) - 1
    corners = [0, 1, -1, 2, -2, 127, 128, -127, -128, 255, 256, -256, high, low, low + 1, high - 1]
    corners += [sign * (1 << k) + d for k in range(31) for sign in (1, -1) for d in (-1, 0, 1)]
    anything = rng.integers(low, high + 1, count) >> rng.integers(0, 32, count)
    if shift > 31:
        return np.array([*corners, *anything])
    half = (1 << shift) >> 1
    near = (rng.integers(-140, 140, count) << shift) + rng.integers(-2, 3, count)
    ties = (rng.integers(-140, 140, count) << shift) + half + rng.integers(-1, 2, count)
    bits = shift // 2
    lower = rng.integers(0, 1 << bits, count)
    upper = (lower << (shift & 1)) + rng.integers(-1, 2, count)
    alike = (rng.integers(0, 130, count) << shift) + (upper << bits) + lower
    alike *= rng.choice((-1, 1), count)
    every = np.concatenate([corners, anything, near, ties, alike])
    return every[(every >= low) & (every <= high)]


def shift_fields(cfg: AcceleratorConfig, rng: np.random.Generator, mode: int) -> dict[str, int]:
    """Return the fields that RANGE and SHIFT have for themselves, legal ones."""
    chosen = {name: int(rng.integers(4)) for name in ("slot", "target")}
    if mode == VectorMode.RANGE:
        # The first two slots keep what other modes take.
        fields = chosen | {"target": int(rng.integers(2, 4))}
        fields |= {name: int(rng.random() < 0.6) for name in ("begin", "settle")}
        fields["relu"] = int(rng.integers(2)) & fields["settle"]
        fields["scales"] = int(rng.integers(5)) & -fields["settle"]
        fields |= {"low": -128, "high": int(rng.integers(1, 8))}
        fields["zero_point"] = int(rng.choice((-256, 255, *rng.integers(-40, 40, 3))))
        if cfg.dynamic:  # MEASURE and QUANTIZE may take the scale, of which finite values follow
            fields |= {"slot": fields["slot"] % 2, "zero_point": int(rng.integers(-40, 1))}
        return fields
    low, high = [(-127, 127), (0, 127), (-128, 90), (17, 17), (-256, 255)][rng.integers(5)]
    fields = {"target": chosen["target"], "low": low, "high": high}
    fields["zero_point"] = int(rng.integers(2))
    if rng.random() < 0.6:
        masks = int(rng.integers(2))
        fields |= {"residual": 1, "relu": masks, "sums": int(rng.integers(2)) * (1 - masks)}
    return fields
