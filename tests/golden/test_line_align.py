# SPDX-License-Identifier: Apache-2.0
"""Codes of lines with exponents in another unit, against floats that hold them exactly."""

import numpy as np

from kiwicha.golden.line_align import aligned_lanes


def test_golden_is_a_rounded_power() -> None:
    """All codes and distances, by fractions."""
    codes = np.arange(256, dtype=np.uint8)
    for apart in range(-12, 13):
        found = aligned_lanes(codes, np.full(256, apart, np.int8), 0).view(np.int8)
        real = codes.view(np.int8).astype(np.float64) * 2.0**apart
        assert np.array_equal(found, np.clip(np.rint(real), -128, 127))


def test_exponents_far_apart_do_not_wrap() -> None:
    codes = np.array([-128, -1, 0, 1, 127], np.int8).view(np.uint8)
    assert not aligned_lanes(codes, np.int8(-128), 127).any()
    left = aligned_lanes(codes, np.int8(127), -128).view(np.int8)
    assert left.tolist() == [-128, -128, 0, 127, 127]
