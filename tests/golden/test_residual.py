# SPDX-License-Identifier: Apache-2.0
"""Sums of fixed-point numbers round as binary32 sums do, and tables give each byte its own."""

import numpy as np

from kiwicha.golden.residual import residual_sum
from kiwicha.machine.sum_tables import FRACTION, round_sums


def totals():
    """All multiples of a quarter where results end, and what is near them."""
    quarters = np.arange(-1024, 1024, dtype=np.int64) << (FRACTION - 2)
    near = (quarters[:, None] + np.arange(-20, 21)).reshape(-1)
    far = np.random.default_rng(1).integers(-(1 << 28), 1 << 28, 1 << 18)
    return np.concatenate([near, far])


def test_rounds_like_binary32():
    """But for one side of what is exactly as far from the middle as half of the last place."""
    total = totals()
    exact = total / 2.0**FRACTION  # a double holds it
    expected = np.rint(exact.astype(np.float32)).astype(np.int64)
    middle = np.floor(exact) + 0.5
    with np.errstate(divide="ignore"):
        half = 2.0 ** (np.floor(np.log2(np.abs(middle))) - 24)
    edge = exact - middle == half
    assert 100 < edge.sum() < 2000
    assert np.array_equal(round_sums(total)[~edge], expected[~edge])
    # A sum of many bits decides that a binary32 number is the middle, and it is even that counts.
    assert (expected[~edge] != np.floor(exact + 0.5)[~edge]).sum() > 1000


def test_each_byte_has_its_entry():
    rng = np.random.default_rng(2)
    words = rng.integers(-(1 << 31), 1 << 31, (256, 2), np.int64)
    words[:, 1] = (words[:, 1] >> 6) - words[:, 0]  # sums within 32
    table = rng.integers(0, 256, (512, 16), np.uint8)
    table[:256, :8] = words.astype("<i4").view(np.uint8)
    for low, high, dtype in ((-20, 11, np.int8), (0, 30, np.uint8)):
        table[256, :4] = np.array([low, high], "<i2").view(np.uint8)
        x, z = rng.integers(0, 256, (2, 3, 500), np.uint8)
        real = [int(a) + int(b) for a, b in zip(
            words[x.reshape(-1), 0].astype(np.int32), words[z.reshape(-1), 1].astype(np.int32),
            strict=True,
        )]
        found = residual_sum(table, x, z)
        assert found.dtype == np.uint8
        expected = np.clip(round_sums(np.array(real)), low, high).astype(dtype)
        assert np.array_equal(found.view(dtype).reshape(-1), expected)
