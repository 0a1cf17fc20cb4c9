# SPDX-License-Identifier: Apache-2.0
"""Functions of one byte by their tables."""

import numpy as np
import pytest

from kiwicha.golden.table import table


@pytest.mark.parametrize("y_dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("x_dtype", [np.int8, np.uint8])
def test_every_byte(x_dtype, y_dtype):
    entries = np.random.default_rng(41).permutation(256).astype(np.uint8)
    x = np.arange(256, dtype=np.uint8).view(x_dtype).reshape(4, 64)[:, ::-1]
    y = table(x, entries, y_dtype)
    assert y.dtype == y_dtype
    for index, value in np.ndenumerate(x):
        assert int(y[index]) % 256 == entries[int(value) % 256]


def test_refusals():
    with pytest.raises(ValueError, match=r"^entries are uint8\(255,\); legal: uint8\(256,\)"):
        table(np.zeros(3, np.int8), np.zeros(255, np.uint8), np.int8)
    with pytest.raises(ValueError, match=r"^entries are int64\(256,\); legal: uint8\(256,\)"):
        table(np.zeros(3, np.int8), np.zeros(256, np.int64), np.int8)
