# SPDX-License-Identifier: Apache-2.0
"""Functions of single codes as the reference kernels of LiteRT compute them, as tables.

``f`` is one rounding to binary32; numbers are binary32 where nothing else is said. Halves of what
is a real number go away from zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kiwicha.machine.scales import quantize_multiplier

__all__ = [
    "FUNCTIONS", "Codes", "hard_swish", "leaky_relu", "logistic", "relu", "requantize",
    "rescale", "tanh",
]

Table = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Codes:
    """Scale, zero point and type of a tensor of 8-bit codes."""

    scale: float
    zero: int
    dtype: npt.DTypeLike

    @property
    def single(self) -> np.float32:
        """The scale in binary32."""
        return np.float32(self.scale)

    @property
    def centred(self) -> Integers:
        """All codes less the zero point, by their raw byte."""
        return np.arange(256, dtype=np.uint8).view(self.dtype).astype(np.int64) - self.zero

    def table(self, values: npt.NDArray[Any], low: int | None = None, high: int | None = None) -> (
        Table
    ):
        """Return raw bytes of integers to which the zero point is added, clamped."""
        info = np.iinfo(np.dtype(self.dtype))
        least = info.min if low is None else max(low, info.min)
        most = info.max if high is None else min(high, info.max)
        codes = np.minimum(np.maximum(values + self.zero, least), most)
        return codes.astype(self.dtype).view(np.uint8)


def logistic(x: Codes, y: Codes) -> Table:
    """LOGISTIC: f(1 / f(1 + f(exp(-r)))), r = f(Sx (x - Zx)), times f(1 / Sy), rounded.

    Raises
    ------
    ValueError
        Unless Sy is 1/256, which LiteRT asks for.
    """
    if y.single != 1 / 256:
        raise ValueError(f"y_scale is {y.scale}; legal: 1/256")

    def function(real: float) -> np.float32:
        power = np.float32(min(math.exp(min(-real, 700.0)), 2.0**127.9))
        return np.float32(1) / (np.float32(1) + power)

    return _of_reals(x, y, function)


def tanh(x: Codes, y: Codes) -> Table:
    """TANH: f(tanh(r)), r = f(Sx (x - Zx)), times f(1 / Sy), rounded."""
    return _of_reals(x, y, lambda real: np.float32(math.tanh(real)))


def hard_swish(x: Codes, y: Codes) -> Table:
    """HARD_SWISH, in 16 bits: h = 128 (x - Zx); p = h times the significand of S / Sy and g = h
    times S 32768 / 3, saturated, S = f(Sx / 128); then (g + 2^15) / 2 times p, towards zero, moved
    right by the exponent of S / Sy.

    Raises
    ------
    ValueError
        Where S / Sy is 1 or more, which LiteRT refuses.
    """
    hires = np.float32(1 / 128) * x.single
    factor, exponent = _multiplier16(float(hires / y.single))
    gate, places = _multiplier16(float(hires / (np.float32(3) / np.float32(32768))))
    if exponent > 0:
        raise ValueError(f"x_scale / y_scale is {x.scale / y.scale}; legal: below 128")
    high = x.centred * 128
    scaled = _high16(high, factor)
    reluish = high
    if places > 0:
        reluish = _saturate16(reluish << (places - 1))
    reluish = _high16(reluish, gate)
    if places > 0:
        reluish = _saturate16(reluish << 1)
    reluish = (_halved(reluish, max(-places, 0)) + (1 << 15)) >> 1
    product = reluish * scaled
    product = np.sign(product) * (np.abs(product) >> 15)
    return y.table(_halved(product, -exponent))


def leaky_relu(x: Codes, y: Codes, alpha: float) -> Table:
    """LEAKY_RELU: x - Zx times f(Sx / Sy), or f(f(Sx alpha) / Sy) where it is negative; the product
    with a negative alpha is that with -alpha, negated."""
    slope = float(x.single * np.float32(alpha) / y.single)
    centred = x.centred
    below = int(np.sign(slope)) * _times(centred, abs(slope))
    return y.table(np.where(centred >= 0, _times(centred, float(x.single / y.single)), below))


def relu(x: Codes, y: Codes, low: float = 0.0, high: float = math.inf) -> Table:
    """RELU, RELU6 (``high`` 6), RELU_N1_TO_1 and RELU_0_TO_1: x - Zx times f(Sx / Sy), clamped to
    the codes of ``low`` and ``high``."""
    bounds = [
        None if math.isinf(bound) else y.zero + int(_away(np.float32(bound) / y.single))
        for bound in (low, high)
    ]
    return y.table(_times(x.centred, float(x.single / y.single)), *bounds)


def requantize(x: Codes, y: Codes) -> Table:
    """QUANTIZE of codes: x - Zx times the binary64 quotient Sx / Sy."""
    return y.table(_times(x.centred, float(x.single) / float(y.single)))


FUNCTIONS: Final[dict[str, Callable[..., Table]]] = {
    "LOGISTIC": logistic, "TANH": tanh, "HARD_SWISH": hard_swish, "LEAKY_RELU": leaky_relu,
    "RELU": relu, "RELU6": lambda x, y: relu(x, y, high=6.0),
    "RELU_N1_TO_1": lambda x, y: relu(x, y, -1.0, 1.0),
    "RELU_0_TO_1": lambda x, y: relu(x, y, 0.0, 1.0), "QUANTIZE": requantize,
}
"""By TFLite's names; each takes what it reads and what it writes, LEAKY_RELU ``alpha`` besides."""


def rescale(x: Codes, y: Codes) -> Table:
    """CONCATENATION of uint8 operands of other scales (int8 has none): f(f(x r) + f(-Zx r)),
    r = f(Sx f(1 / Sy)), rounded."""
    if (x.single, x.zero) == (y.single, y.zero):
        return np.arange(256, dtype=np.uint8)
    ratio = x.single * (np.float32(1) / y.single)
    codes = (x.centred + x.zero).astype(np.float32)
    return y.table(_away(codes * ratio + -np.float32(x.zero) * ratio).astype(np.int64))


def _of_reals(x: Codes, y: Codes, function: Callable[[float], np.float32]) -> Table:
    reals = (x.single * x.centred.astype(np.float32)).astype(np.float32)
    made = np.array([function(float(real)) for real in reals], np.float32)
    return y.table(_away(made * (np.float32(1) / y.single)).astype(np.int64))


def _away(values: Any) -> npt.NDArray[np.float32]:
    whole = np.trunc(np.abs(values))
    return np.copysign(whole + (np.abs(values) - whole >= 0.5), values)


def _times(values: Integers, real: float) -> Integers:
    """Return gemmlowp's product with a real number that is not negative."""
    if real == 0:
        return np.zeros_like(values)
    multiplier, shift = quantize_multiplier(real)
    wide = values << max(shift, 0)
    if np.any(np.abs(wide) >= 1 << 31):
        raise ValueError(f"x_scale / y_scale is {real}; LiteRT overflows")
    high = (wide * multiplier + (1 << 30)) >> 31
    return _halved(high, max(-shift, 0))


def _halved(values: Integers, places: int) -> Integers:
    """Return integers over a power of two, halves away from zero."""
    half = (1 << places) >> 1
    return np.asarray((values + half - ((values < 0) & (places > 0))) >> places)


def _multiplier16(real: float) -> tuple[int, int]:
    """Return the multiplier in 16 bits and its exponent."""
    multiplier, exponent = quantize_multiplier(real)
    if multiplier >= (1 << 31) - 1 - (1 << 15):
        return (1 << 15) - 1, exponent
    return (multiplier + (1 << 15)) >> 16, exponent


def _high16(values: Integers, factor: int) -> Integers:
    """Return the upper halves of doubled products of 16 bits, halves up."""
    return np.asarray((values * factor + (1 << 14)) >> 15)


def _saturate16(values: Integers) -> Integers:
    return np.clip(values, -(1 << 15), (1 << 15) - 1)
