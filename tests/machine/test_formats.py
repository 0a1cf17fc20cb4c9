# SPDX-License-Identifier: Apache-2.0
"""Streams of dense rows: how they are cut into columns, and what the decoder has to take."""

import numpy as np
import pytest

from kiwicha.machine.capabilities import WEIGHT_FORMATS
from kiwicha.machine.formats import ABSOLUTE_BITS, LONGEST, MOST_COLUMNS, encode
from kiwicha.machine.isa import WeightFormat

FORMS = [WeightFormat[name.upper().replace("-", "_")] for name in WEIGHT_FORMATS]
ABSOLUTE = (WeightFormat.CSC_ABSOLUTE, WeightFormat.CSR)
LANES = 8


def random_rows(count: int, density: float) -> np.ndarray:
    rng = np.random.default_rng(count)
    values = rng.integers(1, 16, (count, LANES))
    return np.where(rng.random(values.shape) < density, values, 0).astype(np.uint8)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("count", [1, 96, 127, 20000])
def test_columns_are_as_long_as_they_may_be(form, count):
    stream = encode(form, random_rows(count, 0.2), 16)
    assert stream is not None
    assert stream.octets.size % 16 == 0
    assert stream.columns * stream.rows == count == len(stream.entries)
    elements = LONGEST if form not in ABSOLUTE else 1 << ABSOLUTE_BITS
    most = LONGEST if form == WeightFormat.BITMASK else elements // LANES
    longer = [n for n in range(stream.rows + 1, min(most, count) + 1) if count % n == 0]
    assert stream.rows <= most
    assert not longer


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_entries_are_those_of_their_rows(form):
    """No gap is long enough for a padding, but the column ends of run lengths are entries."""
    rows = random_rows(10000, 0.9)
    stream = encode(form, rows, 16)
    expected = np.count_nonzero(rows, axis=1)
    if form == WeightFormat.BITMASK:
        expected = np.zeros_like(expected)
    if form == WeightFormat.RUN_LENGTH:
        last = slice(stream.rows - 1, None, stream.rows)
        expected[last] += rows[last, -1] == 0
    assert stream.columns > 1 or form == WeightFormat.BITMASK
    assert np.array_equal(stream.entries, expected)


def test_paddings_are_entries():
    rows = np.zeros((10, LANES), np.uint8)
    rows[9, 7] = 1  # 79 zeros: 4 entries of 15 zeros and one more, then 15 and the value
    stream = encode(WeightFormat.CSC4, rows, 16)
    assert np.flatnonzero(stream.entries).tolist() == [1, 3, 5, 7, 9]


def test_what_no_decoder_takes():
    prime = 1031  # more columns than pointers, where one row is all that an index reaches
    assert prime > MOST_COLUMNS
    assert encode(WeightFormat.CSR, np.zeros((prime, LANES), np.uint8), 16) is None
    many = np.arange(1, 17, dtype=np.uint8).reshape(2, LANES)
    assert encode(WeightFormat.CSC4_CODEBOOK, many, 16) is None
