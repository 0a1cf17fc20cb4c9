# SPDX-License-Identifier: Apache-2.0
"""Softmax of 8-bit rows in the three arithmetics of ``SoftmaxMode``.

``onnx``: QLinearSoftmax of ONNX Runtime on x86-64, in binary32. ``tflite``: TFLite's reference
kernel, as TFLite for microcontrollers runs it: gemmlowp's fixed point. ``integer``: i-softmax of
I-BERT (Kim et al., ICML 2021).

All take d = row maximum - x, 0 to 255, so that the zero point of x does not matter. The largest
deviation from the real softmax, in codes of 1/256, is asserted in tests/golden/test_softmax.py.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.machine.modes import SoftmaxMode
from kiwicha.machine.scales import quantize_multiplier
from kiwicha.machine.tables import TFLITE_ROW

__all__ = [
    "exp_on_negative_values", "reciprocal", "rows_that_overflow", "softmax", "softmax_integer",
    "softmax_onnx", "softmax_tflite",
]

IntArray = npt.NDArray[np.int64]


def softmax(
    x: npt.NDArray[Any],
    x_scale: float,
    y_scale: float,
    y_zero: int,
    y_dtype: npt.DTypeLike,
    mode: SoftmaxMode | str,
) -> npt.NDArray[Any]:
    """Return the softmax over the last axis of ``x`` (int8 or uint8), of ``x``'s shape.

    Raises
    ------
    ValueError
        On scales that are not positive normal binary32 numbers; for ``onnx`` when
        floor(1 / y_scale) carries the largest exponential past binary32 (1/256: rows of one
        element; ONNX Runtime's own result is then undefined); for the others unless y_scale is
        1/256 and y_zero the lowest code; for ``tflite`` rows longer than 4095.
    """
    mode = SoftmaxMode(mode)
    for name, scale in (("x_scale", x_scale), ("y_scale", y_scale)):
        if not float(np.finfo(np.float32).tiny) <= scale <= float(np.finfo(np.float32).max):
            raise ValueError(f"{name} is {scale}; legal: a positive normal binary32 number")
    bounds = np.iinfo(np.dtype(y_dtype))
    wide = x.astype(np.int64)
    below = wide.max(axis=-1, keepdims=True) - wide
    if mode is SoftmaxMode.ONNX:
        y = softmax_onnx(below, np.float32(x_scale), np.float32(y_scale))
    else:
        if y_scale != 1 / 256 or y_zero != bounds.min:
            raise ValueError(
                f"y_scale is {y_scale}, y_zero {y_zero}; "
                f"legal in mode {mode.value}: 1/256, {bounds.min}"
            )
        integer = softmax_tflite if mode is SoftmaxMode.TFLITE else softmax_integer
        y = integer(below, float(np.float32(x_scale)))
    return np.clip(y + y_zero, bounds.min, bounds.max).astype(y_dtype)


def softmax_onnx(below: IntArray, x_scale: np.float32, y_scale: np.float32) -> IntArray:
    """Return ``rint(f(f(e * floor(f(1 / y_scale))) / sum e))``, not yet clamped.

    ``e = f(exp((bs - d) * x_scale))`` with ``bs = (f(ln(f(FLT_MAX / n))) - 5) / x_scale`` in
    double, that makes the most of binary32's range: the sum stays below FLT_MAX / 148. It is
    taken one element after the other, each addition rounded. Small e may be denormal. The
    logarithm is rounded to nearest; so is glibc's for all n up to 60593.
    """
    length = below.shape[-1]
    largest = np.finfo(np.float32).max / np.float32(length)
    reach = np.float32(math.log(float(largest)))
    shift = max(0.0, float(reach) - 5) / float(x_scale)
    e = np.array([math.exp((shift - d) * float(x_scale)) for d in range(256)], np.float32)[below]
    factor = np.floor(np.float32(1) / y_scale)
    with np.errstate(over="ignore"):
        scaled = e * factor
    if not np.isfinite(scaled).all():
        raise ValueError(f"y_scale is {y_scale}; too small for a row of {length} elements")
    # The last value of a running sum: np.sum would add pairwise.
    total = np.cumsum(e, axis=-1, dtype=np.float32)[..., -1:]
    return np.rint(scaled / total).astype(np.int64)


def softmax_tflite(below: IntArray, x_scale: float) -> IntArray:
    """Return 256 times the softmax by gemmlowp's fixed point, 0 to 256.

    Exponentials have 31 fraction bits, their sum 19. Where the sum reaches 512, TFLite stops with
    a failed check (`rows_that_overflow`); here everything is 0, what its last shift would give in
    wider integers.
    """
    if below.shape[-1] > 4095:
        raise ValueError(f"a row has {below.shape[-1]} elements; legal in mode tflite: up to 4095")
    e, total = _exponentials(below, x_scale)
    scale, exponent = reciprocal(total)
    return _divide_by_power(_high_mul(scale, e), exponent)


def rows_that_overflow(x: npt.NDArray[Any], x_scale: float) -> IntArray:
    """Return the numbers of the rows, all but the last axis of ``x`` (int8 or uint8) counted in
    order, whose exponentials add up to `TFLITE_ROW` or more: there TFLite stops with a failed check
    (``0 <= exponent && exponent <= 31`` in ``RoundingDivideByPOT``)."""
    rows = x.reshape(-1, x.shape[-1]).astype(np.int64)
    if rows.shape[1] < TFLITE_ROW:
        return np.zeros(0, np.int64)
    _, total = _exponentials(rows.max(axis=-1, keepdims=True) - rows, float(np.float32(x_scale)))
    return np.flatnonzero(total >= TFLITE_ROW << 19)


def _exponentials(below: IntArray, x_scale: float) -> tuple[IntArray, IntArray]:
    """Return TFLite's exponentials, 31 fraction bits, and the sum of each row, 19."""
    if not x_scale * (1 << 26) > 1:
        raise ValueError(f"x_scale is {x_scale}; legal in mode tflite: above 2^-26")
    multiplier, left = quantize_multiplier(min(x_scale * (1 << 26), float((1 << 31) - 1)))
    counted = below <= (31 << 26) >> left
    scaled = _high_mul(np.where(counted, -below, 0) << left, multiplier)
    e = np.where(counted, exp_on_negative_values(scaled), 0)
    return e, _divide_by_power(e, 12).sum(axis=-1, keepdims=True)


def reciprocal(total: IntArray) -> tuple[IntArray, IntArray]:
    """Return (r, e): 2^19 / total = r * 2^(-8 - e) about, of sums 2^19 to 2^31 - 1.

    gemmlowp's Newton iteration: the sum, its top bit moved to bit 31, is halved to h with 31
    fraction bits, x has 29, and x <- x + 4 x (1 - h x) runs three times from 48/17 - 32/17 h, every
    product a rounding doubling high multiplication (`_high_mul`). r is 31 bits wide.
    """
    left = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    half = (total << left) >> 1
    x = 1515870810 + _high_mul(half, -1010580540)
    for _ in range(3):
        x = x + _saturate(_high_mul(x, (1 << 29) - _high_mul(half, x)) << 2)
    return _saturate(x << 1), 35 - left


def exp_on_negative_values(a: IntArray) -> IntArray:
    """Return e^a with 31 fraction bits (0 to 2^31 - 1) of a <= 0 with 26.

    gemmlowp's function of this name: Taylor's series around -1/8 for the part in [-1/4, 0), a
    table of powers for the rest.
    """
    quarter = 1 << 24
    fraction = (a & (quarter - 1)) - quarter
    x = (fraction << 5) + (1 << 28)
    x2 = _high_mul(x, x)
    x3 = _high_mul(x2, x)
    x4 = _high_mul(x2, x2)
    tail = _high_mul(_divide_by_power(x4, 2) + x3, 715827883)  # 1/3
    series = x + _divide_by_power(tail + x2, 1)
    result = 1895147668 + _high_mul(series, 1895147668)  # e^(-1/8)
    rest = fraction - a
    # e^-2^k for k = -2 to 4.
    for bit, power in enumerate(
        (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242), 24
    ):
        result = np.where(rest >> bit & 1, _high_mul(result, power), result)
    return np.where(a == 0, (1 << 31) - 1, result)


def _high_mul(a: Any, b: Any) -> Any:
    """gemmlowp's SaturatingRoundingDoublingHighMul of int32; no pair here saturates."""
    return (a * b + (1 << 30)) >> 31


def _divide_by_power(a: IntArray, exponent: Any) -> IntArray:
    """gemmlowp's RoundingDivideByPOT; nothing here is negative, so that halves go up."""
    return (a + (np.int64(1) << exponent >> 1)) >> exponent


def _saturate(a: IntArray) -> IntArray:
    return np.clip(a, -(1 << 31), (1 << 31) - 1)


def softmax_integer(below: IntArray, x_scale: float) -> IntArray:
    """Return 256 times the softmax, rounded down, 0 to 255.

    I-BERT's i-exp: with S the scale of the input, b = floor(0.96963238 / 0.35815147 / S),
    c = floor(1 / 0.35815147 / S^2) and x0 = floor(-0.6931 / S), x = max(x, 30 x0),
    z = floor(x / x0), r = x - x0 z and e = (r (r + b) + c) 2^(30 - z). The constants lose too
    much to their rounding at the scale of an int8, so x is taken 2^16 times finer: -d 2^16 with
    S = x_scale 2^-16, the same number. e becomes 16 bits as in I-BERT, half up, with e(0) at
    32767; then f = floor(2^32 / sum e), y = floor(e f / 2^24).
    """
    scale = x_scale / 65536
    b = math.floor(0.96963238 / 0.35815147 / scale)
    c = math.floor(1 / 0.35815147 / scale**2)
    x0 = math.floor(-0.6931 / scale)
    if not 0 < c < 1 << 100 or x0 >= 0:
        raise ValueError(f"x_scale is {x_scale}; legal in mode integer: 2^-30 to 2^16")
    # c has up to 94 bits: Python's integers.
    table = []
    for d in range(256):
        x = max(-d << 16, 30 * x0)
        z = x // x0
        r = x - x0 * z
        table.append(max(0, r * (r + b) + c) << (30 - z))
    peak = table[0]
    e = np.array([(2 * 32767 * value + peak) // (2 * peak) for value in table], np.int64)[below]
    factor = (1 << 32) // e.sum(axis=-1, keepdims=True)
    return (e * factor) >> 24
