# SPDX-License-Identifier: Apache-2.0
"""ADD, SUB and MUL of two 8-bit tensors as the reference kernels of LiteRT compute them: in
gemmlowp's fixed point, with two roundings in each product.

Real numbers are binary64, scales binary32. ``(q, e)`` is `machine.scales.quantize_multiplier`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.machine.scales import quantize_multiplier

__all__ = ["FUNCTIONS", "LEFT_SHIFT", "add", "multiply", "multiply_by", "subtract"]

LEFT_SHIFT = 20
"""Places by which operands of a sum move left before they are brought to one scale."""

Codes = npt.NDArray[Any]
Quantized = tuple[Codes, float, int]
"""Codes, their scale and zero point."""
Target = tuple[float, int, int, int]
"""Scale, zero point and bounds of the result."""


def multiply_by(x: npt.ArrayLike, multiplier: int, shift: int) -> npt.NDArray[np.int64]:
    """Return gemmlowp's product of integers and ``multiplier * 2^(shift - 31)``.

    The product with the multiplier is rounded half up, what a negative shift takes off it half
    away from zero. ``x * 2^shift`` fits int32.
    """
    wide = np.asarray(x, np.int64) << max(shift, 0)
    if np.any(wide != wide.astype(np.int32)):
        raise OverflowError("what LiteRT shifts left leaves int32")
    high = (wide * multiplier + (1 << 30)) >> 31
    half = (1 << -shift) >> 1 if shift < 0 else 0
    return np.asarray((high + half - ((high < 0) & (shift < 0))) >> max(-shift, 0))


def add(a: Quantized, b: Quantized, y: Target) -> npt.NDArray[np.int64]:
    """Return the codes of a + b, of the shape that both broadcast to.

    With t = 2 max(Sa, Sb): A = (a - Za) 2^20 times Sa / t, B likewise, and (A + B) times
    t / (2^20 Sy), plus Zy, clamped.

    Raises
    ------
    ValueError
        Where t / (2^20 Sy) is 1 or more; LiteRT refuses such scales.
    """
    return _sum(a, b, y, 1)


def subtract(a: Quantized, b: Quantized, y: Target) -> npt.NDArray[np.int64]:
    """Return the codes of a - b, as `add` does of the sum; B is rounded before it is negated."""
    return _sum(a, b, y, -1)


def multiply(a: Quantized, b: Quantized, y: Target) -> npt.NDArray[np.int64]:
    """Return the codes of a b: (a - Za)(b - Zb) times f(f(Sa Sb) / Sy), plus Zy, clamped; f rounds
    to binary32."""
    y_scale, y_zero, low, high = y
    product = _centred(a) * _centred(b)
    real = float(np.float32(a[1]) * np.float32(b[1]) / np.float32(y_scale))
    return np.clip(multiply_by(product, *quantize_multiplier(real)) + y_zero, low, high)


def _sum(a: Quantized, b: Quantized, y: Target, sign: int) -> npt.NDArray[np.int64]:
    y_scale, y_zero, low, high = y
    twice = 2 * max(_scale(a), _scale(b))
    result = twice / ((1 << LEFT_SHIFT) * float(np.float32(y_scale)))
    if result >= 1:
        raise ValueError(f"y_scale is {y_scale}; legal: above 2^-19 of the operands' scales")
    first, second = (
        multiply_by(_centred(each) << LEFT_SHIFT, *quantize_multiplier(_scale(each) / twice))
        for each in (a, b)
    )
    total = multiply_by(first + sign * second, *quantize_multiplier(result))
    return np.clip(total + y_zero, low, high)


def _centred(each: Quantized) -> npt.NDArray[np.int64]:
    return each[0].astype(np.int64) - each[2]


def _scale(each: Quantized) -> float:
    return float(np.float32(each[1]))


FUNCTIONS = {"add": add, "subtract": subtract, "multiply": multiply}
"""By what a node calls them."""
