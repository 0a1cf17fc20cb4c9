# SPDX-License-Identifier: Apache-2.0
"""golden.multiway against its definition in Python integers, and against the papers' formulas."""

from fractions import Fraction

import numpy as np
import pytest

from kiwicha.golden.block_quantize import block_quantize
from kiwicha.golden.multiway import CRITERIA, multiway_quantize
from kiwicha.machine.scales import QEM_THRESHOLD

WAYS = [(3, 0), (4, 1), (4, 0), (8, 3), (8, 0), (2, 7)]


def in_way(part, bits, clip):
    """Return a block's quantized values and its shift."""
    shift = max(0, max(map(abs, part)).bit_length() - (bits - 1) - clip)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    half_up = [(Fraction(v, 1 << shift) + Fraction(1, 2)).__floor__() for v in part]
    return [max(low, min(high, q)) for q in half_up], shift


def merit(criterion, x, y):
    """Return what the best way has the least of."""
    total = sum(map(abs, x))
    if criterion == "l1":
        return sum(abs(v - w) for v, w in zip(x, y, strict=True))
    if criterion == "l2":
        return sum((v - w) ** 2 for v, w in zip(x, y, strict=True))
    if criterion == "cosine":
        cross = sum(v * w for v, w in zip(x, y, strict=True))
        return -Fraction(cross**2, sum(w * w for w in y)) if any(y) else Fraction(0)
    return abs(total - sum(map(abs, y)))


def random_values(seed, size):
    rng = np.random.default_rng(seed)
    x = rng.standard_t(2, size) * 2.0 ** rng.integers(0, 30)
    x = np.clip(np.rint(x), -(1 << 31), (1 << 31) - 1).astype(np.int64)
    x[:3] = -(1 << 31), (1 << 31) - 1, 0
    return x


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_definition(seed, criterion):
    rng = np.random.default_rng(seed)
    block, threshold = int(rng.integers(1, 40)), int(rng.integers(200, 12000))
    x = random_values(seed, 400)
    found = multiway_quantize(
        x, block, WAYS, criterion=criterion, rounding="half_up", threshold=threshold
    )
    for b, start in enumerate(range(0, x.size, block)):
        part = [int(v) for v in x[start : start + block]]
        results = [in_way(part, *way) for way in WAYS]
        merits = [merit(criterion, part, [q << s for q in values]) for values, s in results]
        best = merits.index(min(merits))
        if criterion == "qem":
            bound = threshold * sum(map(abs, part))
            best = next((k for k, e in enumerate(merits) if e << 16 <= bound), best)
        values, shift = results[best]
        assert found.values[start : start + block].tolist() == values
        assert (found.way[b], found.shift[b]) == (best, shift)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_equal_ways_give_the_lowest_and_zeros_give_zeros(criterion):
    x = random_values(1, 300)
    same = multiway_quantize(x, 32, [(5, 1)] * 4, criterion=criterion)
    assert not same.way.any()
    zeros = multiway_quantize(np.zeros(8), 4, WAYS, criterion=criterion)
    assert not zeros.values.any()
    assert not zeros.way.any()
    assert not zeros.shift.any()


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "half_away", "pseudo"])
def test_one_way_of_eight_bits_is_the_block_quantizer(rounding):
    x = random_values(2, 1000)
    found = multiway_quantize(x, 64, [(8, 0)], rounding=rounding)
    expected = block_quantize(x, 64, rounding=rounding)
    assert np.array_equal(found.values, expected.values)
    assert np.array_equal(found.shift, expected.shift)


def test_threshold_is_the_published_one():
    """A block passes where ``log2(e / sum |x| + 1) <= 0.03``, as Zhang et al. write it."""
    assert round((2**0.03 - 1) * 2**16) == QEM_THRESHOLD
    ways, passed = [(4, 1), (8, 0)], 0
    for seed in range(40):
        x = np.rint(np.random.default_rng(seed).standard_t(4, 64) * 2.0**20).astype(np.int64)
        values, shift = in_way([int(v) for v in x], *ways[0])
        error = abs(np.abs(x).sum() - (np.abs(values) << shift).sum())
        difference = np.log2(error / np.abs(x).sum() + 1)
        assert abs(difference - 0.03) > 1e-4, "too near to the bound to tell"
        found = multiway_quantize(x, 64, ways, criterion="qem", rounding="half_up")
        assert (found.way[0] == 0) == (difference <= 0.03)
        passed += difference <= 0.03
    assert 0 < passed < 40


@pytest.mark.parametrize(("threshold", "way"), [(1 << 15, 0), ((1 << 15) - 1, 1)])
def test_the_threshold_itself_passes(threshold, way):
    # In 2 bits 3 and 1 become 2 and 0: the error is exactly half of the sum.
    ways = [(2, 0), (8, 0)]
    found = multiway_quantize([3, 1], 2, ways, criterion="qem", threshold=threshold)
    assert found.way.tolist() == [way]


@pytest.mark.parametrize("criterion", ["qem", "cosine", "l2"])
def test_sums_beyond_64_bits(criterion):
    x = np.full(1 << 16, -(1 << 31))
    x[::3] = (1 << 31) - 1
    found = multiway_quantize(x, x.size, [(2, 1), (8, 0)], criterion=criterion)
    part = [int(v) for v in x]
    merits = []
    for way in [(2, 1), (8, 0)]:
        values, shift = in_way(part, *way)
        merits.append(merit(criterion, part, [q << shift for q in values]))
    best = int(np.argmin(merits))
    if criterion == "qem":
        best = 0 if merits[0] << 16 <= QEM_THRESHOLD * sum(map(abs, part)) else best
    assert found.way[0] == best


@pytest.mark.parametrize(
    ("x", "block", "ways", "more"),
    [
        ([1], 0, WAYS, {}), ([1], 1, [], {}), ([1], 1, [(4, 0)] * 9, {}), ([1], 1, [(1, 0)], {}),
        ([1], 1, [(4, 8)], {}), ([1], 1, WAYS, {"criterion": "l3"}),
        ([1], 1, WAYS, {"rounding": "lfsr"}), ([1], 1, WAYS, {"threshold": 1 << 17}),
        ([1 << 31], 1, WAYS, {}),
    ],
)
def test_bad_arguments(x, block, ways, more):
    with pytest.raises(ValueError, match="legal: "):
        multiway_quantize(x, block, ways, **more)
