# SPDX-License-Identifier: Apache-2.0
"""The golden product against Python's own integers, wrap included."""

import random

import numpy as np
import pytest

from kiwicha.golden.systolic import OPERAND_MAX, OPERAND_MIN, column_filter, matmul


def test_small_products():
    chooser = random.Random(3)
    for rows, inner, columns in ((1, 1, 1), (3, 5, 2), (4, 70, 3)):
        a, b = (
            [chooser.choices(range(OPERAND_MIN, OPERAND_MAX + 1), k=width) for _ in range(height)]
            for height, width in ((rows, inner), (inner, columns))
        )
        expected = [
            [sum(row[k] * b[k][column] for k in range(inner)) for column in range(columns)]
            for row in a
        ]
        product = matmul(a, b)
        assert product.dtype == np.int32
        assert product.tolist() == expected


def test_small_filters():
    chooser = random.Random(4)
    for vectors, lanes, taps, columns in ((1, 1, 1, 1), (5, 3, 2, 3), (9, 2, 4, 5), (6, 4, 6, 3)):
        a, w = (
            [chooser.choices(range(OPERAND_MIN, OPERAND_MAX + 1), k=width) for _ in range(height)]
            for height, width in ((vectors, lanes), (taps, columns))
        )
        expected = [
            [
                sum(w[k][column] * a[t + k][column] for k in range(taps)) if column < lanes else 0
                for column in range(columns)
            ]
            for t in range(vectors - taps + 1)
        ]
        assert column_filter(a, w).tolist() == expected
    assert column_filter([[1]], [[1], [1]]).shape == (0, 1)
    with pytest.raises(ValueError, match=r"^weights outside -256 to 255$"):
        column_filter([[1]], [[256]])


def test_wraps():
    # 32768 products of 65536 are 2^31.
    inner = 1 << 15
    assert matmul(np.full((1, inner), -256), np.full((inner, 1), -256))[0, 0] == -(2**31)
    inner -= 1
    assert matmul(np.full((1, inner), -256), np.full((inner, 1), -256))[0, 0] == 2**31 - 65536


@pytest.mark.parametrize("value", [OPERAND_MIN - 1, OPERAND_MAX + 1])
def test_range(value):
    with pytest.raises(ValueError, match=r"^weights outside -256 to 255$"):
        matmul([[1]], [[value]])
