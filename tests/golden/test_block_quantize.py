# SPDX-License-Identifier: Apache-2.0
"""golden.block_quantize against its definition in Python integers, and what it is worth in dB."""

from fractions import Fraction

import numpy as np
import pytest

from golden.block_quantize import block_quantize, dequantize


def half_up(value):
    return (value + Fraction(1, 2)).__floor__()


@pytest.mark.parametrize("scaling", ["pot", "free"])
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_definition(seed, scaling):
    rng = np.random.default_rng(seed)
    block = int(rng.integers(1, 40))
    x = rng.integers(-(1 << 31), 1 << 31, 150) >> rng.integers(0, 32, 150)
    x[:3] = -(1 << 31), (1 << 31) - 1, 0
    found = block_quantize(x, block, scaling=scaling, rounding="half_up")
    for b, start in enumerate(range(0, x.size, block)):
        part = [int(v) for v in x[start : start + block]]
        top = max(map(abs, part))
        shift = max(0, top.bit_length() - 7)
        factor = Fraction((127 << 40) // top if top else 0, 1 << 40)
        if scaling == "pot":
            factor = Fraction(1, 1 << shift)
            assert found.shift[b] == shift
        assert found.magnitude[b] == top
        expected = [max(-128, min(127, half_up(v * factor))) for v in part]
        assert found.values[start : start + block].tolist() == expected


@pytest.mark.parametrize("scaling", ["pot", "free"])
def test_corners(scaling):
    zeros = block_quantize([0, 0, 0], 2, scaling=scaling)
    assert not zeros.values.any()
    assert not zeros.magnitude.any()
    lowest = block_quantize([-(1 << 31)], 16, scaling=scaling).values
    assert lowest.tolist() == [-64 if scaling == "pot" else -127]
    # 127.5 rounds out of int8 on one side only.
    both = block_quantize([255, -255], 2, scaling=scaling, rounding="half_away").values
    assert both.tolist() == ([127, -128] if scaling == "pot" else [127, -127])


def test_random_words_follow_the_place_not_the_blocks():
    x = np.arange(1000, 1256)
    whole = block_quantize(x, 64, rounding="lfsr", seed=3, step=9)
    part = block_quantize(x[128:], 64, rounding="lfsr", seed=3, step=9, index=128)
    assert np.array_equal(whole.values[128:], part.values)


#: dB of int8 with blocks of that many elements, from a run of the published scheme in floats.
DECIBELS = [
    ("normal", "free", 4096, 41.2), ("normal", "free", 1024, 42.1), ("normal", "free", 256, 43.2),
    ("normal", "free", 64, 44.6), ("normal", "free", 16, 46.6), ("normal", "pot", 256, 40.6),
    ("laplace", "free", 4096, 36.8), ("laplace", "free", 1024, 38.3),
    ("laplace", "free", 256, 40.0), ("laplace", "free", 64, 42.1), ("laplace", "free", 16, 45.0),
    ("laplace", "pot", 256, 36.9),
    ("student", "free", 64, 39.4), ("student", "free", 16, 43.8),
]  # fmt: skip


def decibels(kind, scaling, block, seed):
    rng = np.random.default_rng(seed)
    draw = {"normal": rng.normal, "laplace": rng.laplace}
    x = draw[kind](size=1 << 18) if kind in draw else rng.standard_t(3, 1 << 18)
    # The unit stays a power of two, which is what a power-of-two scale sees.
    x = np.rint(x * 2.0 ** (30 - int(np.ceil(np.log2(np.abs(x).max())))))
    noise = x - dequantize(block_quantize(x, block, scaling=scaling), block, scaling)
    return 10 * np.log10(np.square(x).sum() / np.square(noise).sum())


@pytest.mark.parametrize(("kind", "scaling", "block", "expected"), DECIBELS)
def test_signal_to_noise(kind, scaling, block, expected):
    # Larger blocks of Student's t are left out: draws differ by more than the bound.
    found = np.median([decibels(kind, scaling, block, seed) for seed in range(5)])
    assert abs(found - expected) <= 0.3


@pytest.mark.parametrize(
    ("x", "block", "scaling"), [([1], 0, "pot"), ([1], 1, "float"), ([1 << 31], 1, "pot")]
)
def test_bad_arguments(x, block, scaling):
    with pytest.raises(ValueError, match="legal: "):
        block_quantize(x, block, scaling=scaling)
