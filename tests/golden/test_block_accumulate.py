# SPDX-License-Identifier: Apache-2.0
"""golden.block_accumulate against sums of fractions, in any order of blocks."""

from fractions import Fraction

import numpy as np
import pytest

from kiwicha.golden.block_accumulate import (
    WINDOW,
    accumulate_aligned,
    accumulate_exact,
    block_products,
    exact_width,
)

TWO = Fraction(2)


def draw(seed, block=5, low=-9, window=WINDOW):
    """Operands whose exponents add up to ``low`` .. ``low + window - 1``."""
    rng = np.random.default_rng(seed)
    m, k, n = 3, 38, 4
    blocks = -(-k // block)
    x, w = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((m, k), (k, n)))
    part = (window - 1) // 2
    ex = rng.integers(0, part + 1, (m, blocks)) + low
    ew = rng.integers(0, window - part, (blocks, n))
    return x, ex, w, ew, block


def exact(x, ex, w, ew, block):
    """The product in fractions."""
    return [
        [
            sum(
                int(x[i, k]) * TWO ** int(ex[i, k // block]) * int(w[k, j])
                * TWO ** int(ew[k // block, j])
                for k in range(x.shape[1])
            )
            for j in range(w.shape[1])
        ]
        for i in range(x.shape[0])
    ]


def values(found):
    exponents = np.broadcast_to(found.exponents, found.sums.shape)
    return [
        [int(v) * TWO ** int(e) for v, e in zip(*line, strict=True)]
        for line in zip(found.sums, exponents, strict=True)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_exact_within_the_window_in_any_order(seed):
    operands = draw(seed)
    products, exponents = block_products(*operands)
    found = accumulate_exact(products, exponents, -9)
    assert found.clamped == 0
    assert values(found) == exact(*operands)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        order = rng.permutation(len(products))
        shuffled = accumulate_exact(products[order], exponents[order], -9)
        assert np.array_equal(shuffled.sums, found.sums)
        # Partial sums of any two groups of blocks add up to the same, as on two arrays.
        cut = int(rng.integers(1, len(order)))
        parts = [
            accumulate_exact(products[some], exponents[some], -9).sums
            for some in (order[:cut], order[cut:])
        ]
        assert np.array_equal(sum(parts), found.sums)


def test_exact_does_not_depend_on_the_array():
    """Blocks of 8 with their exponents, computed as blocks of 4, 2 or 1."""
    x, ex, w, ew, _ = draw(1, block=8)
    whole = accumulate_exact(*block_products(x, ex, w, ew, 8), -9)
    for piece in (4, 2, 1):
        copies = 8 // piece
        pieces = -(-x.shape[1] // piece)
        finer = (np.repeat(ex, copies, 1)[:, :pieces], np.repeat(ew, copies, 0)[:pieces])
        found = accumulate_exact(*block_products(x, finer[0], w, finer[1], piece), -9)
        assert np.array_equal(found.sums, whole.sums)


def test_exact_outside_the_window():
    """Each product is moved into it by itself: half to even below, saturated above."""
    low, window = -4, 8
    lowest, highest = -(1 << 31), (1 << 31) - 1
    corners = [0, 1, -1, 2, 3, -3, 5, 6, 1 << 20, -(1 << 20), lowest, highest]
    for e in [*range(-60, 60, 7), low - 1, low, low + window - 1, low + window]:
        found = accumulate_exact(np.array([corners]), e, low, window)
        assert found.clamped == (0 if low <= e < low + window else len(corners))
        for p, got in zip(corners, found.sums, strict=True):
            inside = max(low, min(low + window - 1, e))
            moved = round(p * TWO ** (e - inside))
            assert int(got) == max(lowest, min(highest, moved)) << (inside - low)


@pytest.mark.parametrize(
    ("blocks", "window", "width"), [(1, 1, 32), (512, 16, 56), (2, 16, 48), (3, 16, 49)]
)
def test_width_is_enough_and_not_too_much(blocks, window, width):
    assert exact_width(blocks, window) == width
    products = np.full((blocks, 1), -(1 << 31))
    least = accumulate_exact(products, window - 1, 0, window).sums.item()
    assert -(1 << (width - 1)) <= least < -(1 << (width - 2)) or blocks == 1


def aligned(products, exponents):
    """The definition for one sum, in Python integers; ``round`` of a fraction is half to even."""
    total, running = int(products[0]), int(exponents[0])
    for p, e in zip(map(int, products[1:]), map(int, exponents[1:]), strict=True):
        above = max(running, e)
        total = round(total / TWO ** (above - running)) + round(p / TWO ** (above - e))
        total, running = max(-(1 << 31), min((1 << 31) - 1, total)), above
    return total, running


@pytest.mark.parametrize("seed", range(6))
def test_aligned_equals_the_definition(seed):
    operands = draw(seed, window=40)
    products, exponents = block_products(*operands)
    found = accumulate_aligned(products, exponents)
    for place in np.ndindex(found.sums.shape):
        every = (slice(None), *place)
        expected = aligned(products[every], exponents[every])
        assert (int(found.sums[place]), int(found.exponents[place])) == expected


def test_aligned_depends_on_the_order_and_is_near():
    products, exponents = np.array([[1], [1], [1 << 20]]), np.array([[0], [0], [1]])
    up = accumulate_aligned(products, exponents)
    down = accumulate_aligned(products[::-1], exponents[::-1])
    assert up.sums.item() == (1 << 20) + 1
    assert down.sums.item() == 1 << 20
    # Each addition is off by at most half a unit of either summand.
    operands = draw(9)
    blocks = block_products(*operands)
    found = accumulate_aligned(*blocks)
    for line, line_exact in zip(values(found), exact(*operands), strict=True):
        for value, right in zip(line, line_exact, strict=True):
            assert abs(value - right) <= len(blocks[0]) * TWO ** int(found.exponents.max())


def test_aligned_saturates():
    found = accumulate_aligned(np.array([[(1 << 31) - 1], [1], [-(1 << 31)]]), np.zeros((3, 1)))
    assert (found.sums.item(), found.clamped) == (-1, 1)
    assert accumulate_aligned(np.full((2, 1), -(1 << 31)), 0).sums.item() == -(1 << 31)


def test_refuses():
    x, ex, w, ew, block = draw(0)
    with pytest.raises(ValueError, match=r"^operands \(3, 38\) and \(38, 4\) in blocks of 6, "):
        block_products(x, ex, w, ew, block + 1)
    with pytest.raises(ValueError, match=r"^block is 131072; legal: 1 to 131071$"):
        block_products(x, ex[:, :1], w, ew[:1], 1 << 17)
    with pytest.raises(ValueError, match=r"^products are 0 to 2147483648; legal: int32$"):
        accumulate_exact(np.array([0, 1 << 31]), 0, 0)
    with pytest.raises(ValueError, match=r"^513 blocks, a window of 24; legal: "):
        exact_width(513, 24)
