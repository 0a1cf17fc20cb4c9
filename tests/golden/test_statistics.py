# SPDX-License-Identifier: Apache-2.0
"""golden.statistics against NumPy, and on blocks that were counted by hand."""

import numpy as np
import pytest

from kiwicha.golden.statistics import StatisticsRecord, recorded, statistics


@pytest.mark.parametrize("seed", range(20))
def test_equals_numpy(seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-(1 << 31), 1 << 31, int(rng.integers(1, 200))) >> int(rng.integers(0, 32))
    found, size = statistics(x), np.abs(x)
    assert (found.minimum, found.maximum, found.magnitude) == (x.min(), x.max(), size.max())
    assert (found.total, found.total_magnitude) == (x.sum(), size.sum())
    assert found.total_square == sum(int(v) ** 2 for v in x)
    assert (found.count, found.histogram[0]) == (x.size, np.count_nonzero(x == 0))
    edges = [0, *(1 << b for b in range(33))]
    assert np.array_equal(found.histogram, np.histogram(size, edges)[0])
    for cut in range(1, x.size):
        assert statistics(x[:cut]).joined(statistics(x[cut:])) == found


def test_by_hand():
    found = statistics([0, -(1 << 31), 1, 2, 3, 0, 0])
    assert found.magnitude == 1 << 31
    assert found.total_square == (1 << 62) + 14
    assert found.histogram == (3, 1, 2, *[0] * 29, 1)


def test_the_record_by_hand():
    record = StatisticsRecord()
    assert not record.octets().any()
    assert record.octets().size == 256
    record.add([9, 9], 256, begin=False)
    record.add([[-(1 << 31), 0], [5, -2]], 256, begin=True)
    record.add([-(1 << 31)], 256, begin=False)
    octets = record.octets()
    words = octets.view("<i8")
    total = 3 - (1 << 32)
    assert words[:5].tolist() == [-(1 << 31), 5, 1 << 31, total, (1 << 32) + 7]
    # The squares add up to 2^63 + 29.
    assert octets[40:56].view("<u8").tolist() == [(1 << 63) + 29, 0]
    assert words[7] == 5
    counts = dict.fromkeys(range(33), 0) | {0: 1, 2: 1, 3: 1, 32: 2}
    assert octets[64:196].view("<u4").tolist() == [counts[b] for b in range(33)]
    assert not octets[196:].any()


def test_the_record_overflows():
    record, many = StatisticsRecord(), np.arange(200)
    for count, begin in enumerate([True, False, False, True]):
        record.add(many, 256, begin=begin)
        assert record.overflow == (count in (1, 2))
        if record.overflow:
            assert np.flatnonzero(record.octets()).tolist() == [196]
            assert record.octets()[196] == 1
    record.add(many[:56], 256, begin=False)
    assert (record.block.count, record.overflow) == (256, False)
    record.add([0], 256, begin=False)
    assert record.overflow


@pytest.mark.parametrize("block", [[], [1 << 31], [-(1 << 31) - 1]])
def test_bad_arguments(block):
    with pytest.raises(ValueError, match="legal: "):
        statistics(block)


def test_a_record_read_back():
    record = StatisticsRecord()
    with pytest.raises(ValueError, match="the record is empty; overflow is 0"):
        recorded(record.octets())
    record.add([[-(1 << 31), 0], [5, -2]], 256, begin=True)
    assert recorded(record.octets()) == record.block
    record.add(np.zeros(257, int), 256, begin=False)
    with pytest.raises(ValueError, match="the record is empty; overflow is 1"):
        recorded(record.octets())
