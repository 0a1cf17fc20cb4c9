# SPDX-License-Identifier: Apache-2.0
"""Fields and values for optimizers: corners, and all of their legal range."""

import numpy as np

__all__ = ["random_fields", "random_values"]


def _power(rng, bits):
    """A number of any size up to ``bits`` bits: each length equally often."""
    return int(rng.integers(0, 1 << 62)) >> (62 - int(rng.integers(0, bits + 1)))


def random_fields(rng):
    """Return fields of UPDATE that say what a step computes: any legal ones."""
    constants = {
        f"c{k}": int(rng.choice([0, 1, 65535, 65536, *rng.integers(0, 65537, 4)]))
        for k in range(1, 7)
    }
    if rng.random() < 0.5:
        constants["c6"] = 0
    shifts = {
        name: int(rng.integers(0, 32))
        for name in ("code_shift", "second_shift", "rate_shift", "decay_shift")
    }
    return {
        "momentum": int(rng.integers(2)), "root": int(rng.integers(2)), "begin": 0,
        "accumulate": 0, "wide": 1, "gradient_shift": int(rng.integers(-16, 32)),
        "epsilon": _power(rng, 32), **shifts, **constants,
    }


def random_values(rng, count):
    """Return w, m, v and gradients of every length of bits, extremes among them."""

    def numbers(bits, extremes):
        lengths = rng.integers(0, bits + 1, count)
        found = rng.integers(0, 1 << 62, count) >> (62 - lengths)
        if extremes[0] < 0:
            found = np.where(rng.random(count) < 0.5, -found, found)
        edge = rng.random(count) < 0.1
        return np.where(edge, rng.choice(extremes, count), found)

    def signed(bits):
        top = 1 << (bits - 1)
        return numbers(bits - 1, [-top, top - 1, -1, 0, 1])

    return signed(32), signed(24), numbers(32, [0, 1, (1 << 32) - 1, 1 << 31]), signed(32)
