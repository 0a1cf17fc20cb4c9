# SPDX-License-Identifier: Apache-2.0
"""Blocks of int32 values as tests need them, and how they become vectors of lanes."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["corner_blocks", "random_blocks", "to_vectors"]

LOW, HIGH = -(1 << 31), (1 << 31) - 1


def corner_blocks(block: int) -> list[list[int]]:
    """Return blocks of at most ``block`` elements that a careless unit gets wrong."""
    return [
        [0], [LOW], [HIGH], [-1], [1],
        [LOW] * block,
        [HIGH] * block,
        [0] * block,
        [0] * (block - 1) + [LOW],
        [HIGH, *[0] * (block - 1)],
        [(-1) ** k << k for k in range(31)][:block],
        [127, 128, 255, 256, -127, -128, -255, -256][:block],
        *([HIGH] * n for n in range(1, min(block, 9))),
        *([-x for x in range(n)] for n in range(1, min(block, 9))),
    ]


def random_blocks(seed: int, count: int, block: int) -> list[list[int]]:
    """Return blocks of random length whose values have random bit lengths."""
    rng = np.random.default_rng(seed)
    blocks = []
    for _ in range(count):
        length = int(rng.choice([rng.integers(1, block + 1), block]))
        width = rng.integers(0, 32, length) if rng.random() < 0.3 else rng.integers(0, 32)
        values = rng.integers(LOW, HIGH + 1, length) >> width
        blocks.append([int(x) for x in values])
    return blocks


def to_vectors(block: npt.ArrayLike, lanes: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return the payloads of one block; lanes without an element hold noise."""
    rng = np.random.default_rng(seed)
    values = [int(x) for x in np.asarray(block).ravel()]
    vectors = []
    for start in range(0, len(values), lanes):
        part = values[start : start + lanes]
        last = start + lanes >= len(values)
        noise = [int(x) for x in rng.integers(LOW, HIGH + 1, lanes - len(part))]
        count = len(part) if last else int(rng.integers(0, lanes + 1))
        vectors.append({"lanes": part + noise, "count": count, "last": int(last)})
    return vectors
