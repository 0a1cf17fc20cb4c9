# SPDX-License-Identifier: Apache-2.0
"""Requantization: an int32 accumulator becomes int8 or uint8, by the rules of a named runtime.

Mode ``onnx`` is ONNX Runtime's CPU requantizer (MLAS, x86-64), ``tflite`` and ``tflite-single``
are gemmlowp's fixed point as TFLite builds it, ``shift`` is a power of two. No two agree on all
inputs: never check one mode against the runtime of another.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.scales import ONCE

__all__ = [
    "requantize",
    "requantize_onnx",
    "requantize_onnx_integer",
    "requantize_shift",
    "requantize_tflite",
    "requantize_tflite_single",
]

Int32Array = npt.NDArray[np.int32]

_INT32_MIN, _INT32_MAX = -(1 << 31), (1 << 31) - 1


def requantize(
    acc: npt.ArrayLike,
    multiplier: npt.ArrayLike,
    shift: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    mode: RequantizeMode | str,
    *,
    bias: npt.ArrayLike = 0,
) -> Int32Array:
    """Return the int32 array of what ``mode`` makes of the operands, as the hardware takes them.

    All arguments broadcast; per-channel parameters are arrays along the channel axis.

    Parameters
    ----------
    acc : int32 accumulators.
    multiplier, shift : as ``machine.scales.encode_scale`` returns them.
    zero_point : output zero point, -256 to 255, added after rounding.
    low, high : inclusive bounds of the result, -256 to 255 (the output type, or narrower for a
        fused ReLU or clip).
    bias : int32, added to ``acc`` with int32 wrap-around, as ONNX Runtime does.

    Raises
    ------
    ValueError
        On a scale, multiplier or shift outside the mode's domain.
    """
    mode = RequantizeMode(mode)
    acc = _wrap_int32(np.asarray(acc, np.int64) + np.asarray(bias, np.int64))
    if mode is RequantizeMode.ONNX:
        scale = np.asarray(multiplier, np.uint32).view(np.float32)
        return requantize_onnx(acc, scale, zero_point, low, high)
    if mode is RequantizeMode.TFLITE:
        return requantize_tflite(acc, multiplier, shift, zero_point, low, high)
    if mode is RequantizeMode.TFLITE_SINGLE:
        return requantize_tflite_single(acc, multiplier, shift, zero_point, low, high)
    return requantize_shift(acc, shift, zero_point, low, high)


def requantize_onnx(
    acc: npt.ArrayLike,
    scale: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
) -> Int32Array:
    """``rint(clip(float32(acc) * scale, low - zp, high - zp)) + zp``, every step in binary32.

    Three roundings, all half to even: the conversion of ``acc``, the product, the integer. The
    zero point is added last (ONNX's own reference evaluator adds it before it rounds).

    Domain: every int32 ``acc``, every positive normal binary32 ``scale``; anything else in
    ``scale`` raises ValueError.
    """
    scale = np.asarray(scale, np.float32)
    bad = ~((scale >= np.finfo(np.float32).tiny) & np.isfinite(scale))
    if bad.any():
        raise ValueError(f"scale is {scale[bad].flat[0]}; legal: a positive normal binary32 number")
    zero_point = np.asarray(zero_point, np.int32)
    with np.errstate(over="ignore"):
        value = np.asarray(acc, np.int32).astype(np.float32) * scale
    lower = (np.asarray(low, np.int32) - zero_point).astype(np.float32)
    upper = (np.asarray(high, np.int32) - zero_point).astype(np.float32)
    return np.asarray(np.rint(np.clip(value, lower, upper)).astype(np.int32) + zero_point)


def requantize_onnx_integer(
    acc: npt.ArrayLike,
    scale_bits: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
) -> Int32Array:
    """As ``requantize_onnx``, in integer arithmetic alone, on any 32 scale bits.

    Outside the domain it does what the hardware does: the sign bit is ignored; a zero or denormal
    scale gives the zero point, clamped; infinity and NaN saturate a non-zero accumulator by its
    sign.
    """
    acc, scale_bits = np.broadcast_arrays(
        np.asarray(acc, np.int64), np.asarray(scale_bits, np.int64)
    )
    exponent = scale_bits >> 23 & 0xFF
    mantissa = np.where(exponent == 0, 0, scale_bits & 0x7FFFFF | 0x800000)
    magnitude = np.abs(acc)
    first = np.maximum(_bit_length(magnitude) - 24, 0)
    product = _round_even(magnitude, first) * mantissa
    second = np.maximum(_bit_length(product) - 24, 0)
    significand = _round_even(product, second)
    # value = significand * 2**scale; at 2**-27 it has vanished, at 2**10 it has saturated.
    binary = first + second + exponent - 150
    small = _round_even(significand, np.clip(-binary, 0, 27))
    value = np.where(binary >= 0, significand << np.clip(binary, 0, 10), small)
    value = np.where((exponent == 255) & (acc != 0), 1 << 20, value)
    return _finish(np.where(acc < 0, -value, value), zero_point, low, high)


def requantize_tflite(
    acc: npt.ArrayLike,
    multiplier: npt.ArrayLike,
    shift: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
) -> Int32Array:
    """``MultiplyByQuantizedMultiplier`` of TFLite's default build: gemmlowp, two roundings.

    ``SaturatingRoundingDoublingHighMul`` rounds half up, ``RoundingDivideByPOT`` half away from
    zero. Domain: ``multiplier`` in [0, 2^31), with a ``shift`` in [-31, 0], or in [-31, 30] if it
    is at least 2^30. Where TFLite overflows int32 in ``acc << shift`` (undefined there), this
    saturates. A multiplier with `ONCE` added is rounded as by ``requantize_tflite_single``.
    """
    word = np.asarray(multiplier, np.int64)
    once = (word & ONCE) != 0
    acc, multiplier, shift = _fixed_point(acc, word & ~ONCE, shift)
    single = requantize_tflite_single(acc, multiplier, shift, zero_point, low, high)
    shifted = np.clip(acc << np.maximum(shift, 0), _INT32_MIN, _INT32_MAX)
    high_product = (shifted * multiplier + (1 << 30)) >> 31
    right = np.maximum(-shift, 0)
    half = (np.int64(1) << right) >> 1
    nudge = half - ((high_product < 0) & (right > 0))
    twice = _finish((high_product + nudge) >> right, zero_point, low, high)
    return np.where(once, single, twice)


def requantize_tflite_single(
    acc: npt.ArrayLike,
    multiplier: npt.ArrayLike,
    shift: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
) -> Int32Array:
    """The same of a build with ``TFLITE_SINGLE_ROUNDING``: one 64-bit rounding, half up.

    Domain: ``multiplier`` in [0, 2^31), ``shift`` as in ``requantize_tflite``.
    """
    acc, multiplier, shift = _fixed_point(acc, multiplier, shift)
    right = 31 - shift
    # TFLite asserts that the result fits int32; past that it only has to keep its sign.
    return _finish(
        (acc * multiplier + (np.int64(1) << (right - 1))) >> right, zero_point, low, high
    )


def requantize_shift(
    acc: npt.ArrayLike,
    shift: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
) -> Int32Array:
    """``floor(acc / 2^shift + 1/2)``: right shift by 0 to 31, rounding half up."""
    shift = np.asarray(shift, np.int64)
    _require(shift, (shift >= 0) & (shift <= 31), "shift", "0 to 31")
    rounded = (np.asarray(acc, np.int64) + ((np.int64(1) << shift) >> 1)) >> shift
    return _finish(rounded, zero_point, low, high)


def _fixed_point(
    acc: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    multiplier, shift = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    fits = (multiplier >= 0) & (multiplier <= _INT32_MAX)
    _require(multiplier, fits, "multiplier", "0 to 2^31 - 1")
    _require(shift, (shift >= -31) & (shift <= 30), "shift", "-31 to 30")
    small, left = np.broadcast_arrays((multiplier < 1 << 30) & (multiplier > 0), shift > 0)
    _require(np.broadcast_to(multiplier, small.shape), ~(small & left), "multiplier",
             "0 or 2^30 to 2^31 - 1 with a positive shift")
    return np.asarray(acc, np.int64), multiplier, shift


def _require(values: npt.NDArray[Any], legal: npt.NDArray[Any], name: str, text: str) -> None:
    if not np.all(legal):
        raise ValueError(f"{name} is {values[~legal].flat[0]}; legal: {text}")


def _finish(
    value: npt.NDArray[Any], zero_point: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike
) -> Int32Array:
    return np.asarray(np.clip(value + np.asarray(zero_point), low, high), np.int32)


def _wrap_int32(value: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _bit_length(value: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # A double may round a 48-bit value up to the next power of two only from 2**53 on.
    return np.frexp(value.astype(np.float64))[1].astype(np.int64)


def _round_even(value: npt.NDArray[np.int64], shift: npt.NDArray[np.int64]) -> Any:
    """Return ``value / 2**shift`` rounded half to even; ``value`` is not negative."""
    half = (np.int64(1) << shift) >> 1
    odd = value >> shift & 1
    return np.where(shift > 0, (value + half - 1 + odd) >> shift, value)
