# SPDX-License-Identifier: Apache-2.0
"""What SPECIAL's two tables hold for softmax and normalization, made from scales and real
parameters; `machine.pair_tables` has those of sums and products.

Tables are ``uint32[256]``; the engine's docstrings and `golden.special` say how they are used.
"""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from kiwicha.machine.modes import SoftmaxMode
from kiwicha.machine.pair_tables import require_single
from kiwicha.machine.scales import quantize_multiplier

__all__ = ["TFLITE_ROW", "normalize_epsilon", "normalize_parameters", "softmax_tables"]

TFLITE_ROW = 512
"""What the sum of a row's exponentials stays below in TFLite's softmax, which stops there."""

Tables = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]

_GAIN_LIMIT = (1 << 23) - 1
_LONGEST = {SoftmaxMode.ONNX: 60593, SoftmaxMode.TFLITE: 4095, SoftmaxMode.INTEGER: 65535}


def softmax_tables(
    mode: SoftmaxMode | str, x_scale: float, length: int, y_scale: float = 1 / 256
) -> Tables:
    """Return SOFTMAX's tables A and B by d = row maximum - x, for rows of ``length`` elements.

    onnx: binary32 bits, A the exponential of `golden.softmax.softmax_onnx`, B = f(A * factor) with
    factor = floor(f(1 / y_scale)). Where ONNX Runtime has denormals there is +0: less than 2^-126
    is lost beside the maximum's own A, which is 2^104 or more.
    tflite: integers, B the exponential with 31 fraction bits, 0 where TFLite leaves the element
    out, A the same with 19 (at most 2^19), to be summed.
    integer: A and B the exponential in 16 bits (at most 32767).

    Raises
    ------
    ValueError
        Names what is out of range: a scale that is no positive normal binary32 number, or beyond
        what the mode can express; a length beyond 60593 (onnx), 4095 (tflite), 65535 (integer).
    """
    mode = SoftmaxMode(mode)
    if not 1 <= length <= _LONGEST[mode]:
        raise ValueError(
            f"a row has {length} elements; legal in mode {mode.value}: 1 to {_LONGEST[mode]}"
        )
    x_single, y_single = require_single("x_scale", x_scale), require_single("y_scale", y_scale)
    if mode is SoftmaxMode.ONNX:
        return _softmax_onnx(x_single, length, y_single)
    if y_single != 1 / 256:
        raise ValueError(f"y_scale is {y_scale}; legal in mode {mode.value}: 1/256")
    if mode is SoftmaxMode.TFLITE:
        return _softmax_tflite(float(x_single))
    return _softmax_integer(float(x_single))


def _softmax_onnx(x_scale: np.float32, length: int, y_scale: np.float32) -> Tables:
    # Logarithm and scale are double in ONNX Runtime, but for the logarithm's own rounding.
    reach = np.float32(math.log(float(np.finfo(np.float32).max / np.float32(length))))
    shift = (float(reach) - 5) / float(x_scale)
    entries = [math.exp((shift - below) * float(x_scale)) for below in range(256)]
    a = np.array(entries, np.float64).astype(np.float32)
    with np.errstate(over="ignore"):
        b = a * np.floor(np.float32(1) / y_scale)
    if not np.isfinite(b).all():
        raise ValueError(f"y_scale is {y_scale}; too small for a row of {length} elements")
    return _bits(a), _bits(b)


def _softmax_tflite(x_scale: float) -> Tables:
    if not x_scale * (1 << 26) > 1:
        raise ValueError(f"x_scale is {x_scale}; legal in mode tflite: above 2^-26")
    multiplier, left = quantize_multiplier(min(x_scale * (1 << 26), float((1 << 31) - 1)))
    reach = (31 << 26) >> left
    b = np.zeros(256, np.int64)
    for below in range(min(reach, 255) + 1):
        b[below] = _fixed_exp(_high_mul(-below << left, multiplier))
    return ((b + (1 << 11)) >> 12).astype(np.uint32), b.astype(np.uint32)


def _fixed_exp(a: int) -> int:
    """gemmlowp's ``exp_on_negative_values`` of 26 fraction bits: e^a with 31."""
    if a == 0:
        return (1 << 31) - 1
    whole, fraction = divmod(a, 1 << 24)
    x = (fraction << 5) - (1 << 28)  # from the middle of [-1/4, 0), with 31 fraction bits
    x2 = _high_mul(x, x)
    cubic = _high_mul(x2, x) + ((_high_mul(x2, x2) + 2) >> 2)
    tail = _high_mul(cubic, 715827883) + x2
    middle = 1895147668
    result = middle + _high_mul(middle, x + ((tail + 1) >> 1))
    powers = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for bit, power in enumerate(powers):
        if (-1 - whole) >> bit & 1:
            result = _high_mul(result, power)
    return result


def _high_mul(a: int, b: int) -> int:
    return (a * b + (1 << 30)) >> 31


def _softmax_integer(x_scale: float) -> Tables:
    # I-BERT's i-exp, of the input 2^16 times finer.
    scale = x_scale / 65536
    linear = math.floor(0.96963238 / 0.35815147 / scale)
    constant = math.floor(1 / 0.35815147 / scale**2)
    octave = math.ceil(0.6931 / scale)
    if not 1 <= constant < 1 << 100:
        raise ValueError(f"x_scale is {x_scale}; legal in mode integer: 2^-30 to 2^16")
    a = []
    for below in range(256):
        halvings, rest = divmod(min(below << 16, 30 * octave), octave)
        value = Fraction(max(0, rest * (rest - linear) + constant), 1 << halvings)
        a.append(math.floor(value * 32767 / constant + Fraction(1, 2)))
    return np.array(a, np.uint32), np.array(a, np.uint32)


def _bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """Binary32 bits, denormals and -0 as +0."""
    normal = np.abs(values) >= np.finfo(np.float32).tiny
    return np.where(normal, values, np.float32(0)).astype(np.float32).view(np.uint32)


def normalize_parameters(
    gamma: npt.ArrayLike, beta: npt.ArrayLike, y_scale: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], int]:
    """Return (gains int32[n], offsets int32[n], shift) of `golden.normalize`.

    ``gains = rint(gamma / y_scale * 2^shift)`` with the largest shift up to 31 that keeps them
    within 24 bits signed; ``offsets = rint(beta / y_scale * 2^16) + 2^15``, the half that makes
    the last shift round to nearest. Table A holds the gains, table B the offsets.

    Raises
    ------
    ValueError
        On parameters that are not finite, of different lengths or without any element; on a scale
        that is not positive and finite; on gamma / y_scale of 2^23 or beta / y_scale of 2^15.
    """
    gamma, beta = np.asarray(gamma, np.float64), np.asarray(beta, np.float64)
    if gamma.ndim != 1 or gamma.shape != beta.shape or not gamma.size:
        raise ValueError(f"gamma {gamma.shape}, beta {beta.shape}; legal: one length, at least 1")
    _require_scale("y_scale", y_scale)
    for name, values in (("gamma", gamma), ("beta", beta)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has {values[~np.isfinite(values)][0]}; legal: finite numbers")
    real = gamma / float(y_scale)
    peak = float(np.abs(real).max())
    if not np.rint(peak) <= _GAIN_LIMIT:
        raise ValueError(f"gamma / y_scale reaches {peak}; legal: below 2^23")
    shift = max(s for s in range(32) if np.rint(peak * 2.0**s) <= _GAIN_LIMIT)
    offsets = np.rint(beta / float(y_scale) * (1 << 16)) + (1 << 15)
    if not np.abs(offsets).max() < 1 << 31:
        largest = float(np.abs(beta / float(y_scale)).max())
        raise ValueError(f"beta / y_scale reaches {largest}; legal: below 2^15")
    return np.rint(real * 2.0**shift).astype(np.int32), offsets.astype(np.int32), shift


def normalize_epsilon(
    length: int, x_scale: float, epsilon: float, *, uncentred: bool = False
) -> int:
    """Return ``rint(256 * length^2 * epsilon / x_scale^2)``, the field ``z`` of NORMALIZE; where it
    is uncentred, 64 times.

    Raises
    ------
    ValueError
        When it has more than 32 bits, a row is not 1 to 4096 long, ``x_scale`` is not positive
        and finite, or ``epsilon`` negative.
    """
    if not 1 <= length <= 4096:
        raise ValueError(f"a row has {length} elements; legal: 1 to 4096")
    _require_scale("x_scale", x_scale)
    if not epsilon >= 0:
        raise ValueError(f"epsilon is {epsilon}; legal: 0 or more")
    ratio, units = float(epsilon) / float(x_scale) ** 2, 64 if uncentred else 256
    if not units * length**2 * ratio < (1 << 32) - 1:
        limit = 2**32 / units / length**2
        raise ValueError(
            f"epsilon / x_scale^2 is {ratio}; legal for {length} elements: below {limit}"
        )
    return round(units * length**2 * ratio)


def _require_scale(name: str, scale: float) -> None:
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"{name} is {scale}; legal: a positive finite number")
