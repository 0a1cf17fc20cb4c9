# SPDX-License-Identifier: Apache-2.0
"""A table on VECTOR's way out is the function of each byte, whatever its type."""

import numpy as np
import pytest

from kiwicha.golden.function_table import look_up


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_it_is_the_function_of_each_code(dtype):
    info = np.iinfo(dtype)
    codes = np.arange(info.min, info.max + 1).astype(dtype)
    leaky = np.where(codes < 3, 3 + (codes.astype(int) - 3) // 4, codes).astype(dtype)
    table = np.empty(256, np.uint8)
    table[codes.view(np.uint8)] = leaky.view(np.uint8)
    x = np.random.default_rng(2).choice(codes, (5, 7))
    expected = np.where(x < 3, 3 + (x.astype(int) - 3) // 4, x).astype(dtype)
    found = look_up(table, x.view(np.uint8))
    assert found.dtype == np.uint8
    assert np.array_equal(found.view(dtype), expected)
