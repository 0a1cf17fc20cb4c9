# SPDX-License-Identifier: Apache-2.0
"""Functions of single codes against LiteRT's reference kernels: all codes, over the scales that
LiteRT takes."""

import numpy as np
import pytest

from kiwicha.machine.fixed_functions import FUNCTIONS, Codes, rescale

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.litert import Operand, run_operator

TYPES = [np.int8, np.uint8]
OPTIONS = {"HARD_SWISH": "HardSwish", "LEAKY_RELU": "LeakyRelu", "QUANTIZE": "Quantize"}
FIXED = {"LOGISTIC": (1 / 256, 0), "TANH": (1 / 128, 128)}
"""Scale of the result, and its zero point above the lowest code."""


def parameters(rng, name, turn, y_type):
    """Scales and zero points: random, equal, decimal, powers of two, far apart."""
    x_scale = np.float32(rng.uniform(1, 2) * 2.0 ** rng.integers(-14, 5))
    y_scale = np.float32(x_scale * 2.0 ** rng.uniform(-6, 4))
    if turn % 5 == 1:
        y_scale = x_scale
    if turn % 5 == 2:
        x_scale, y_scale = np.float32(2.0 ** rng.integers(-8, 1, 2))
    if turn % 5 == 3:
        x_scale, y_scale = (np.float32(digit / 100) for digit in rng.integers(1, 99, 2))
    if name == "HARD_SWISH":
        y_scale = max(y_scale, np.float32(x_scale / 100))
    elif turn % 5 == 4:
        y_scale = np.float32(x_scale * 2.0 ** rng.uniform(-14, 20))
    info = np.iinfo(y_type)
    zero = int(rng.integers(info.min, info.max + 1))
    if name in FIXED:
        y_scale, zero = np.float32(FIXED[name][0]), int(info.min) + FIXED[name][1]
    return x_scale, y_scale, zero


@pytest.mark.parametrize("x_type", TYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_litert(name, x_type):
    rng, various = np.random.default_rng([len(name), np.iinfo(x_type).max]), 0
    turns = 150 if name in ("LOGISTIC", "TANH") else 300
    for turn in range(turns):
        y_type = TYPES[turn % 2] if name == "QUANTIZE" else x_type
        x_scale, y_scale, y_zero = parameters(rng, name, turn, y_type)
        x_zero = int(rng.integers(np.iinfo(x_type).min, np.iinfo(x_type).max + 1))
        codes = np.arange(256, dtype=np.uint8).view(x_type)
        alpha = float(np.float32(rng.choice([0.1, 0.2, 0.01, 1.5, -0.3, 0.5, -0.5, 0.0])))
        extra = {"alpha": alpha} if name == "LEAKY_RELU" else {}
        version = 1 if name == "HARD_SWISH" or name.startswith("RELU_") else 2
        if x_type == np.uint8 and name in FIXED:
            version = 1
        expected = run_operator(
            name, [Operand(codes, x_scale, x_zero)],
            Operand(np.empty(256, y_type), y_scale, y_zero), version, extra or None,
            OPTIONS.get(name, ""),
        )
        table = FUNCTIONS[name](
            Codes(x_scale, x_zero, x_type), Codes(y_scale, y_zero, y_type), **extra
        )
        np.testing.assert_array_equal(
            table[codes.view(np.uint8)].view(y_type), expected,
            f"{x_scale} {x_zero} {y_scale} {y_zero} {extra}",
        )
        various += len(np.unique(expected)) > 2
    assert various > turns / 4


def test_concatenation():
    """Of uint8; LiteRT has none of int8 with other scales."""
    rng, codes = np.random.default_rng(9), np.arange(256, dtype=np.uint8)
    for turn in range(200):
        x_scale, y_scale, y_zero = parameters(rng, "CONCATENATION", turn, np.uint8)
        x_zero = y_zero if turn % 5 == 1 else int(rng.integers(256))
        expected = run_operator(
            "CONCATENATION", [Operand(codes, x_scale, x_zero), Operand(codes, y_scale, y_zero)],
            Operand(np.empty(512, np.uint8), y_scale, y_zero), 1, {"axis": 0}, "Concatenation",
        )
        x, y = Codes(x_scale, x_zero, np.uint8), Codes(y_scale, y_zero, np.uint8)
        made = np.concatenate([rescale(each, y) for each in (x, y)])
        np.testing.assert_array_equal(made, expected, f"{x_scale} {x_zero} {y_scale} {y_zero}")


def test_refuses_what_litert_refuses():
    x = Codes(0.1, 0, np.int8)
    with pytest.raises(ValueError, match=r"^y_scale is 0.01; legal: 1/256$"):
        FUNCTIONS["LOGISTIC"](x, Codes(0.01, -128, np.int8))
    with pytest.raises(ValueError, match=r"^x_scale / y_scale is 1000.*; legal: below 128$"):
        FUNCTIONS["HARD_SWISH"](x, Codes(1e-4, 0, np.int8))
    with pytest.raises(ValueError, match=r"; LiteRT overflows$"):
        FUNCTIONS["QUANTIZE"](x, Codes(1e-10, 0, np.int8))
