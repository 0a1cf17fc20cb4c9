# SPDX-License-Identifier: Apache-2.0
"""CSC streams against scipy.sparse, EIE's published example, sizes, and streams that are wrong."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import sparse

from kiwicha.golden import csc

BOOK = np.array([0, -128, 127, -1, 1, 5, -5, 9, 20, -20, 33, -33, 60, -60, 7, 3], np.int8)
FORMS = {
    "relative 4": {"index_bits": 4},
    "relative 5": {"index_bits": 5},
    "relative 8": {"index_bits": 8},
    "absolute 10": {"index_bits": 10, "relative": False},
}


@st.composite
def matrices(draw, longest=90, widest=9):
    shape = (draw(st.integers(1, longest)), draw(st.integers(1, widest)))
    density = draw(st.sampled_from([0, 0.03, 0.2, 0.5, 1]))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    matrix = generator.integers(-128, 128, shape, np.int8)
    return np.where(generator.random(shape) < density, matrix, 0).astype(np.int8)


@given(matrices(longest=700), st.sampled_from(sorted(FORMS)), st.sampled_from([4, 8, 16, 64]))
def test_lossless(matrix, name, beat):
    form = FORMS[name]
    octets = csc.encode(matrix, **form, beat_bytes=beat)
    assert len(octets) % beat == 0
    relative = form.get("relative", True)
    assert (csc.decode(octets, *matrix.shape, **form, beat_bytes=beat) == matrix).all()
    other = sparse.csc_matrix(matrix)
    values, indices, ends = csc.entries(matrix, form["index_bits"], relative=relative)
    assert values[values != 0].tolist() == other.data.tolist()
    if not relative:
        assert indices.tolist() == other.indices.tolist()
        assert ends.tolist() == other.indptr.tolist()


@given(matrices(), st.sampled_from(sorted(FORMS)))
def test_codebook(matrix, name):
    form = FORMS[name]
    shared = BOOK[matrix.view(np.uint8) % 16]
    octets = csc.encode(shared, codebook=BOOK, **form)
    assert (csc.decode(octets, *shared.shape, codebook=True, **form) == shared).all()


def test_published_example():
    column = np.array([0, 0, 1, 2, *[0] * 18, 3], np.int8)
    values, indices, ends = csc.entries(column[:, None], 4)
    assert values.tolist() == [1, 2, 0, 3]
    assert indices.tolist() == [2, 0, 15, 2]
    assert ends.tolist() == [0, 4]


def test_bytes():
    """The layout, written out by hand: two columns, entries of 12 bits."""
    matrix = np.array([[0, -1], [5, 0], [0, 3]], np.int8)
    pointers = [1, 0, 3, 0, 0, 0, 0, 0]
    entries = 0x051 | 0xFF0 << 12 | 0x031 << 24
    expected = bytes(pointers) + entries.to_bytes(8, "little")
    assert csc.encode(matrix).tobytes() == expected


@pytest.mark.parametrize(
    ("density", "form", "published"),
    [
        (0.01, "relative 4", 80.8), (0.01, "relative 5", 47.3), (0.01, "relative 8", 17.3),
        (0.05, "relative 4", 21.4), (0.05, "relative 5", 16.1), (0.05, "relative 8", 16.0),
        (0.1, "relative 4", 14.7), (0.1, "relative 5", 13.5), (0.1, "relative 8", 16.0),
        (0.2, "relative 4", 12.4), (0.2, "relative 5", 13.0), (0.2, "relative 8", 16.0),
        (0.3, "relative 4", 12.0), (0.5, "relative 4", 12.0),
        (0.01, "absolute 10", 19.1), (0.05, "absolute 10", 18.2), (0.1, "absolute 10", 18.1),
        (0.2, "absolute 10", 18.1), (0.3, "absolute 10", 18.0), (0.5, "absolute 10", 18.0),
    ],
)
def test_bits_per_value(density, form, published):
    """All bytes counted, pointers and fill too; columns of 1024 where the table counts pointers."""
    length = 1024 if form.startswith("absolute") else 8192
    generator = np.random.default_rng(1)
    matrix = (generator.random((length, 1 << 20 >> length.bit_length())) < density).astype(np.int8)
    bits = len(csc.encode(matrix, **FORMS[form])) * 8 / np.count_nonzero(matrix)
    assert abs(bits / published - 1) < 0.03, bits


@pytest.mark.parametrize(
    ("octets", "form", "message"),
    [
        ([1, 0, 2, 0], {}, "^truncated"),
        ([1, 0, 1, 0, 0, 0, 0, 0, 2], {}, "^truncated"),
        ([2, 0, 1, 0, 0, 0, 0, 0, 0x30, 1, 1, 0], {}, "^pointer: a column of 65535"),
        ([1, 0, 1, 0, 0, 0, 0, 0, 0x1F, 0], {}, "^index: 15 in a column of 8"),
        ([1, 0, 1, 0, 0, 0, 0, 0, 0x02, 0], {}, "^padding: a value of 0"),
        ([1, 0, 1, 0, 1, 0, 0, 0, 0x12, 0], {}, "^padding: non-zero bits"),
        ([1, 0, 1, 0, 0, 0, 0, 0, 0x12, 0x80], {}, "^padding: non-zero bits"),
        ([1, 0, 1, 0, 0, 0, 0, 0, 0x12, *[0] * 17], {}, "^trailing"),
        ([2, 0, 2, 0, 0, 0, 0, 0, 2, 1, 2, 1], {"index_bits": 8, "relative": False}, "^order"),
        ([1, *[0] * 31], {"codebook": True}, "^codebook"),
    ],
)
def test_wrong_streams(octets, form, message):
    with pytest.raises(ValueError, match=message):
        csc.decode(np.array(octets, np.uint8), 8, 2, **form)


def test_refuses():
    with pytest.raises(ValueError, match="value 2 is not in the codebook"):
        csc.encode(np.array([[2]], np.int8), codebook=BOOK)
    with pytest.raises(ValueError, match="codebook is illegal"):
        csc.encode(np.array([[2]], np.int8), codebook=BOOK + np.int8(1))
    with pytest.raises(ValueError, match="index_bits is 4; 17 rows need more"):
        csc.encode(np.ones((17, 1), np.int8), relative=False)
    with pytest.raises(ValueError, match="legal: 1 to 65535 rows"):
        csc.encode(np.ones((65536, 1), np.int8))


@given(hnp.arrays(np.uint8, st.integers(0, 60)), st.sampled_from(sorted(FORMS)), st.booleans())
def test_garbage_decodes_or_is_refused(octets, name, codebook):
    try:
        matrix = csc.decode(octets, 16, 3, codebook=codebook, **FORMS[name])
    except ValueError:
        return
    assert matrix.shape == (16, 3)
