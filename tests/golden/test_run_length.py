# SPDX-License-Identifier: Apache-2.0
"""Run-length streams: lossless, their bytes and their sizes, and streams that are wrong."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import sparse

from kiwicha.golden import csc, run_length

from .test_csc import matrices


@given(matrices(longest=700), st.sampled_from([4, 5, 8]), st.sampled_from([4, 16]))
def test_lossless(matrix, bits, beat):
    octets = run_length.encode(matrix, index_bits=bits, beat_bytes=beat)
    assert len(octets) % beat == 0
    found = run_length.decode(octets, *matrix.shape, index_bits=bits, beat_bytes=beat)
    assert (found == matrix).all()
    words = csc.unpack_bits(octets, bits + 8, len(octets) * 8 // (bits + 8)) >> bits
    values = words[words != 0].astype(np.uint8).view(np.int8)
    assert values.tolist() == sparse.csc_matrix(matrix).data.tolist()


def test_bytes():
    matrix = np.array([[0, 7], [0, 0], [-2, 0]], np.int8)
    entries = 0xFE2 | 0x070 << 12 | 0x001 << 24
    assert run_length.encode(matrix, beat_bytes=4).tobytes() == entries.to_bytes(8, "little")


@pytest.mark.parametrize(("density", "published"), [(0.05, 21.4), (0.1, 14.7), (0.3, 12.0)])
def test_bits_per_value(density, published):
    matrix = (np.random.default_rng(1).random((8192, 64)) < density).astype(np.int8)
    bits = len(run_length.encode(matrix)) * 8 / np.count_nonzero(matrix)
    assert abs(bits / published - 1) < 0.03, bits


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ([0x12], "^truncated"),
        ([0x18, 0], "^truncated, or index"),
        ([0x1F, 0x70, 0x01], "^index: an entry crosses"),
        ([0x01, 0x50, 0x01, 0x17, 0], "^padding: a value of 0"),
        ([0x17, 0x70, 0x01, 1], "^padding: "),
        ([0x17, 0x70, 0x01, *[0] * 16], "^trailing"),
    ],
)
def test_wrong_streams(octets, message):
    with pytest.raises(ValueError, match=message):
        run_length.decode(np.array(octets, np.uint8), 8, 2)


@given(hnp.arrays(np.uint8, st.integers(0, 60)))
def test_garbage_decodes_or_is_refused(octets):
    try:
        matrix = run_length.decode(octets, 16, 2)
    except ValueError:
        return
    assert matrix.shape == (16, 2)
