# SPDX-License-Identifier: Apache-2.0
"""Hand-written programs for `tiny`, as jobs between guard bytes."""

from typing import Any

import numpy as np

from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import LEVELS, Opcode

from .board import Job
from .layers import GUARD

__all__ = [
    "END", "PROGRAM", "WINDOW", "compute", "job", "levels", "load", "program", "store", "vector",
]

WINDOW = (0x200, 0x300)
"""What the programs may write."""
PROGRAM = 0x800
"""Where they are."""
END = encode(Opcode.END)


def load(**fields: Any) -> np.ndarray:
    """Return a legal LOAD of 64 bytes, with some fields changed."""
    return encode(Opcode.LOAD, **{"length": 64, "segments": 1, **fields})


def store(**fields: Any) -> np.ndarray:
    """Return a legal STORE of 16 bytes, with some fields changed."""
    return encode(Opcode.STORE, **{"address": 0x210, "length": 16, "segments": 1, **fields})


def levels(*counts: int) -> list[dict[str, int]]:
    """Return COMPUTE's loops, innermost first; those not given run once."""
    padded = [*counts, *[1] * (LEVELS - len(counts))]
    return [{"count": count, "y": 0, "x": 0, "address": 0} for count in padded]


def compute(**fields: Any) -> np.ndarray:
    """Return a legal COMPUTE of one step, with some fields changed."""
    legal = {"rows": 4, "y_limit": 1, "x_limit": 4, "levels": levels()}
    return encode(Opcode.COMPUTE, **{**legal, **fields})


def vector(**fields: Any) -> np.ndarray:
    """Return a legal VECTOR of one pixel, with some fields changed."""
    legal = {"channels": 4, "pixels": 1, "lines": 1, "low": -128, "high": 127}
    return encode(Opcode.VECTOR, **{**legal, **fields})


def program(*instructions: np.ndarray, end: bool = True) -> np.ndarray:
    """Return the words of instructions, and END."""
    return np.concatenate([*instructions, *([END] if end else [])])


def job(words: np.ndarray, **changes: Any) -> Job:
    """Return the job for a program; ``changes`` are to members of `Job`."""
    data = words.astype("<u8").view(np.uint8)
    image = np.full(PROGRAM + 64 + -(-len(data) // 64) * 64, GUARD, np.uint8)
    image[PROGRAM : PROGRAM + len(data)] = data
    members: dict[str, Any] = {
        "image": image, "program": (PROGRAM, len(data)), "read_window": (0, len(image)),
        "write_window": WINDOW, "watchdog": 500, "limit": 20_000,
    }
    return Job(**{**members, **changes})
