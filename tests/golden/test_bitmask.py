# SPDX-License-Identifier: Apache-2.0
"""Bitmask streams: lossless, their bytes and their sizes, and streams that are wrong."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import sparse

from kiwicha.golden import bitmask

from .test_csc import matrices


@given(matrices(widest=1), st.sampled_from([8, 16, 64]), st.sampled_from([4, 16]))
def test_lossless(column, lanes, beat):
    rows = np.resize(column, (len(column), lanes))
    octets = bitmask.encode(rows, beat_bytes=beat)
    assert len(octets) % beat == 0
    assert (bitmask.decode(octets, *rows.shape, beat_bytes=beat) == rows).all()
    assert np.count_nonzero(octets) >= sparse.csr_matrix(rows).nnz


def test_bytes():
    rows = np.array([[0, 0, -3, 0, 0, 0, 0, 9], [0] * 8, [1, *[0] * 7]], np.int8)
    expected = [0x84, 0xFD, 9, 0, 1, 1, 0, 0]
    assert bitmask.encode(rows, beat_bytes=4).tolist() == expected


@pytest.mark.parametrize(
    ("density", "published"),
    [(0.01, 108), (0.05, 28.0), (0.1, 18.0), (0.2, 13.0), (0.3, 11.3), (0.5, 10.0)],
)
def test_bits_per_value(density, published):
    rows = (np.random.default_rng(1).random((40000, 16)) < density).astype(np.int8)
    bits = len(bitmask.encode(rows)) * 8 / np.count_nonzero(rows)
    assert abs(bits / published - 1) < 0.03, bits


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ([], "^truncated: row 0"),
        ([0x03, 1], "^truncated: row 0"),
        ([0x01, 1], "^truncated: row 1"),
        ([0x02, 0, 0], "^padding: row 0"),
        ([0, 0, 1], "^padding: non-zero"),
        ([0] * 18, "^trailing"),
    ],
)
def test_wrong_streams(octets, message):
    with pytest.raises(ValueError, match=message):
        bitmask.decode(np.array(octets, np.uint8), 2, 8)


def test_refuses():
    with pytest.raises(ValueError, match="^lanes is 12; legal: multiples of 8$"):
        bitmask.encode(np.zeros((1, 12), np.int8))


@given(hnp.arrays(np.uint8, st.integers(0, 60)))
def test_garbage_decodes_or_is_refused(octets):
    try:
        rows = bitmask.decode(octets, 3, 16)
    except ValueError:
        return
    assert rows.shape == (3, 16)
