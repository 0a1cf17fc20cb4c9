# SPDX-License-Identifier: Apache-2.0
"""Dynamic quantization as ONNX Runtime 1.31.1 computes it: scales that follow from the values.

What ``onnxruntime.quantization.quantize_dynamic`` makes of a linear layer, operator by operator:
DynamicQuantizeLinear, MatMulInteger, Cast, Mul by the product of both scales, Add. Every
operation is one rounding to binary32, to denormal numbers too; numbers may overflow to infinity. A
tensor whose range is not finite cannot be quantized.
"""

import numpy as np
import numpy.typing as npt

__all__ = [
    "added_values", "bounded", "dynamic_quantize", "dynamic_scale", "linear_values",
    "quantize_values", "real_octets",
]

Floats = npt.NDArray[np.float32]


def dynamic_scale(low: npt.ArrayLike, high: npt.ArrayLike) -> tuple[np.float32, int]:
    """Return scale and zero point (uint8) for values from ``low`` to ``high``.

    The range always includes 0; one of nothing but 0 has scale 1 and zero point 0. One so small
    that its scale rounds to 0 has zero point 255.

    Raises
    ------
    OverflowError
        For a range that is not finite: the runtime's scale is infinite or NaN.
    """
    lowest = np.minimum(np.asarray(low, np.float32), np.float32(0))
    highest = np.maximum(np.asarray(high, np.float32), np.float32(0))
    if highest == lowest:
        return np.float32(1), 0
    with np.errstate(over="ignore", invalid="ignore"):
        extent = np.float32(highest - lowest)
    if not np.isfinite(extent):
        raise OverflowError(f"its range, {lowest:g} to {highest:g}, is not finite in binary32")
    scale = np.float32(extent / np.float32(255))
    if scale == 0:
        return scale, 255
    zero = np.float32(0) - np.float32(lowest / scale)
    return scale, int(np.rint(np.clip(zero, 0, 255)))


def quantize_values(
    v: npt.ArrayLike, scale: npt.ArrayLike, zero: int, low: int = 0, high: int = 255
) -> npt.NDArray[np.int64]:
    """Return ``clip(rint(v / scale) + zero, low, high)``, the quotient a binary32 number.

    With scale 0, positive values become ``high`` and all others ``low``: that is 0 / 0 as well.
    """
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        total = np.rint(np.divide(v, scale, dtype=np.float32)) + np.float32(zero)
    return np.clip(np.where(np.isnan(total), low, total), low, high).astype(np.int64)


def dynamic_quantize(x: npt.ArrayLike) -> tuple[npt.NDArray[np.uint8], np.float32, int]:
    """Return DynamicQuantizeLinear of ``x``: values, scale, zero point."""
    v = np.asarray(x, np.float32)
    scale, zero = dynamic_scale(v.min(), v.max())
    return quantize_values(v, scale, zero).astype(np.uint8), scale, zero


def linear_values(
    acc: npt.ArrayLike, x_scale: npt.ArrayLike, w_scale: npt.ArrayLike, bias: npt.ArrayLike,
    relu: bool,
) -> Floats:
    """Return ``f(f(f(acc) * f(x_scale * w_scale)) + bias)``, negative values 0 with ``relu``.

    Parameters
    ----------
    acc : int32 [..., N]; w_scale, bias : binary32 [N] or scalar.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.multiply(x_scale, w_scale, dtype=np.float32)
        v = np.asarray(acc).astype(np.float32) * scale + np.asarray(bias, np.float32)
    return np.asarray(np.maximum(v, np.float32(0)) if relu else v, np.float32)


def added_values(
    v: npt.ArrayLike, operand: npt.ArrayLike | None = None, *, alone: bool = False,
    slope: npt.ArrayLike | None = None, offset: npt.ArrayLike | None = None, gated: bool = False,
    bounds: tuple[float, float] | None = None, relu: bool = False,
) -> Floats:
    """Return what LeakyRelu or PRelu, Add, Clip and Relu, in this order, make of ``v``.

    Parameters
    ----------
    operand : what is added; with ``alone`` it stands for ``v``, and nothing is added; with
        ``gated`` it is what ``v`` is multiplied by.
    slope : what negative values are multiplied by, None for nothing.
    offset : with it, all values are multiplied by the slope, and it is added.
    bounds : within which finite values are held, None for none.
    """
    value = np.asarray(operand if alone else v, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        if gated:
            value = value * np.asarray(operand, np.float32)
        elif offset is not None:
            value = value * np.asarray(slope, np.float32) + np.asarray(offset, np.float32)
        elif slope is not None:
            value = np.where(value < 0, value * np.asarray(slope, np.float32), value)
        if operand is not None and not (alone or gated):
            value = value + np.asarray(operand, np.float32)
    if bounds is not None:
        value = bounded(value, *bounds)
    return np.asarray(np.maximum(value, np.float32(0)) if relu else value, np.float32)


def bounded(v: npt.ArrayLike, low: float, high: float) -> Floats:
    """Return ``min(max(v, low), high)`` of finite values, as Clip does; what is not finite stays.

    Parameters
    ----------
    low, high : finite binary32 numbers; where they cross, all finite values are ``high``.
    """
    value = np.asarray(v, np.float32)
    held = np.minimum(np.maximum(value, np.float32(low)), np.float32(high))
    return np.where(np.isfinite(value), held, value).astype(np.float32)


def real_octets(v: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Return binary32 numbers as VECTOR writes them, uint8 [..., 4 N]: zeros without sign, and
    infinity for what is not finite."""
    value = np.asarray(v, np.float32) + np.float32(0)
    finite = np.where(np.isfinite(value), value, np.float32(np.inf)).astype("<f4")
    return np.ascontiguousarray(finite).view(np.uint8)
