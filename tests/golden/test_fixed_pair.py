# SPDX-License-Identifier: Apache-2.0
"""Sums, differences and products in fixed point against LiteRT's reference kernels: all pairs of
codes, over the scales that LiteRT takes."""

import numpy as np
import pytest

from kiwicha.golden.fixed_pair import add, multiply, multiply_by, subtract

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.litert import Operand, run_operator

FUNCTIONS = {"ADD": add, "SUB": subtract, "MUL": multiply}


def all_pairs(dtype):
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    return [np.ascontiguousarray(a).reshape(1, 256, 256, 1) for a in np.meshgrid(codes, codes)]


def scales(rng, name, turn):
    """Scales of both operands and the result: near, far, decimal, powers of two, ties."""
    a = np.float32(rng.uniform(1, 2) * 2.0 ** rng.integers(-30, 20))
    b = np.float32(a * 2.0 ** rng.uniform(*((-3, 3), (-20, 20), (-1, 0))[turn % 3]))
    if turn % 5 == 0:
        a, b = np.float32(2.0 ** rng.integers(-12, 2, 2))
    if turn % 5 == 1:
        b = a
    if turn % 5 == 2:
        a, b = (np.float32(digit / 10.0 ** rng.integers(1, 4)) for digit in rng.integers(1, 9, 2))
    size = float(a) * float(b) * 2.0**6 if name == "MUL" else 2.0 * max(float(a), float(b))
    y = np.float32(size * 2.0 ** rng.uniform(-6, 3))
    if turn % 5 in (0, 1) and turn % 2:
        y = np.float32(size * 2.0 ** rng.integers(-6, 3) * rng.choice([1, 3, 5, 7, 9]) / 8)
    return a, b, y


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_litert(name, dtype):
    rng = np.random.default_rng([len(name), ord(name[0]), np.iinfo(dtype).max])
    a, b = all_pairs(dtype)
    info, kinds = np.iinfo(dtype), set()
    for turn in range(90):
        a_scale, b_scale, y_scale = scales(rng, name, turn)
        zeros = [int(zero) for zero in rng.integers(info.min, info.max + 1, 3)]
        if turn % 4 == 0:
            zeros = [0, 0, 0] if turn % 8 else [info.min, info.max, info.max]
        relu = int(turn % 7 == 3)
        expected = run_operator(
            name, [Operand(a, a_scale, zeros[0]), Operand(b, b_scale, zeros[1])],
            Operand(np.empty(a.shape, dtype), y_scale, zeros[2]), 2,
            {"fusedActivationFunction": relu}, name.capitalize(),
        )
        low = zeros[2] if relu else info.min
        y = FUNCTIONS[name](
            (a, a_scale, zeros[0]), (b, b_scale, zeros[1]), (y_scale, zeros[2], low, info.max)
        )
        np.testing.assert_array_equal(y, expected, f"{a_scale} {b_scale} {y_scale} {zeros}")
        kinds |= {len(np.unique(expected)) > 2}
    assert True in kinds


def test_rounding_is_double_and_not_single():
    """What tells the two apart occurs among these pairs."""
    rng = np.random.default_rng(5)
    x = rng.integers(-(1 << 20), 1 << 20, 100_000)
    multiplier, shift = 1518500250, -12
    once = (x * multiplier + (1 << (30 - shift))) >> (31 - shift)
    assert 0 < np.count_nonzero(multiply_by(x, multiplier, shift) != once) < 1000


def test_refuses_what_litert_refuses():
    a, b = all_pairs(np.int8)
    with pytest.raises(ValueError, match=r"^y_scale is 1e-06; legal: above 2\^-19"):
        add((a, 1.0, 0), (b, 1.0, 0), (1e-6, 0, -128, 127))
    with pytest.raises(OverflowError, match=r"leaves int32$"):
        multiply((a, 1.0, 0), (b, 1.0, 0), (2.0**-20, 0, -128, 127))
