# SPDX-License-Identifier: Apache-2.0
"""The golden accumulator: first, sum with wrap, maximum."""

import numpy as np

from kiwicha.golden.accumulator import accumulate

HELD = [5, -7, 2**31 - 1, -(2**31)]
PSUM = [-2, -6, 1, -1]


def test_first_replaces():
    for maximum in (False, True):
        assert accumulate(HELD, PSUM, first=True, maximum=maximum).tolist() == PSUM


def test_sum_wraps():
    total = accumulate(HELD, PSUM, first=False)
    assert total.dtype == np.int32
    assert total.tolist() == [3, -13, -(2**31), 2**31 - 1]


def test_maximum():
    assert accumulate(HELD, PSUM, first=False, maximum=True).tolist() == [5, -6, 2**31 - 1, -1]


def test_result_is_a_copy():
    psum = np.array(PSUM, np.int32)
    accumulate(HELD, psum, first=True)[0] = 9
    assert psum.tolist() == PSUM
