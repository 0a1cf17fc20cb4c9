# SPDX-License-Identifier: Apache-2.0
"""golden.statistics against NumPy, and on blocks that were counted by hand."""

import numpy as np
import pytest

from golden.statistics import statistics


@pytest.mark.parametrize("seed", range(20))
def test_equals_numpy(seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-(1 << 31), 1 << 31, int(rng.integers(1, 200))) >> int(rng.integers(0, 32))
    found, size = statistics(x), np.abs(x)
    assert (found.minimum, found.maximum, found.magnitude) == (x.min(), x.max(), size.max())
    assert (found.total, found.total_magnitude) == (x.sum(), size.sum())
    assert found.total_square == sum(int(v) ** 2 for v in x)
    assert (found.count, found.zeros) == (x.size, np.count_nonzero(x == 0))
    edges = [0, *(1 << b for b in range(33))]
    assert np.array_equal(found.histogram, np.histogram(size, edges)[0])


def test_by_hand():
    found = statistics([0, -(1 << 31), 1, 2, 3, 0, 0], bins=3, histogram_limit=2)
    assert found.magnitude == 1 << 31
    assert found.total_square == (1 << 62) + 14
    assert found.histogram == (2, 1, 2)
    assert statistics([-(1 << 31)]).histogram[32] == 1


@pytest.mark.parametrize(
    ("block", "bins"), [([], 33), ([1 << 31], 33), ([-(1 << 31) - 1], 33), ([1], 1), ([1], 34)]
)
def test_bad_arguments(block, bins):
    with pytest.raises(ValueError, match="legal: "):
        statistics(block, bins=bins)
