# SPDX-License-Identifier: Apache-2.0
"""GELU of a byte in integers, after I-BERT's i-GELU, as a table of its 256 values.

I-BERT (Kim et al., ICML 2021) replaces erf by a parabola. The deviation from the real GELU is
asserted in tests/golden/test_gelu.py.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.table import table

__all__ = ["gelu", "gelu_table"]

_FINER = 16
"""i-GELU takes its input 2^16 times finer: its constants, rounded at an int8's scale, and its
shift by 14 bits would leave nothing of it."""


def gelu(
    x: npt.NDArray[Any],
    x_scale: float,
    x_zero: int,
    y_scale: float,
    y_zero: int,
    y_dtype: npt.DTypeLike,
) -> npt.NDArray[Any]:
    """Return the quantized GELU of ``x`` (int8 or uint8), element by element."""
    entries = gelu_table(x_scale, x_zero, x.dtype, y_scale, y_zero, y_dtype)
    return table(x, entries, y_dtype)


def gelu_table(
    x_scale: float,
    x_zero: int,
    x_dtype: npt.DTypeLike,
    y_scale: float,
    y_zero: int,
    y_dtype: npt.DTypeLike,
) -> npt.NDArray[np.uint8]:
    """Return the raw byte of the result for each raw byte of ``x``, ``uint8[256]``.

    With q = (x - x_zero) 2^16 and S = x_scale 2^-16, the same number, and S' = S / 1.4142:

    i-erf: b = floor(-1.769 / S'), c = floor(1 / -0.2888 / S'^2),
    e = floor(sign(q) ((min(|q|, -b) + b)^2 + c) / 2^14), scale S_e = -0.2888 S'^2 2^14.
    i-GELU: g = q (e + floor(1 / S_e)), scale S S_e / 2.
    Requantization: (m, k) = frexp of the ratio of the scales, m rounded half up to 31 bits;
    y = clamp(rint(g m 2^k) + y_zero), halves to even.

    Raises
    ------
    ValueError
        On scales that are not positive and finite, or x_scale outside 2^-40 to 2^12.
    """
    for name, scale in (("x_scale", x_scale), ("y_scale", y_scale)):
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"{name} is {scale}; legal: a positive finite number")
    if not 2.0**-40 <= x_scale <= 2.0**12:
        raise ValueError(f"x_scale is {x_scale}; legal: 2^-40 to 2^12")
    bounds = np.iinfo(np.dtype(y_dtype))
    values = np.arange(256, dtype=np.uint8).view(x_dtype).astype(int) - x_zero
    scale = float(x_scale) / (1 << _FINER)
    inner = scale / 1.4142
    b = math.floor(-1.769 / inner)
    c = math.floor(1 / -0.2888 / inner**2)
    erf_scale = -0.2888 * inner**2 * (1 << 14)
    one = math.floor(1 / erf_scale)
    # Both scales are negative in I-BERT; -g and -S S_e / 2 keep the fraction positive.
    fraction, exponent = math.frexp(-scale * erf_scale / 2 / float(y_scale))
    factor = Fraction(math.floor(fraction * (1 << 31) + 0.5), 1 << 31) * Fraction(2) ** exponent
    codes = []
    for value in values:
        q = int(value) << _FINER
        parabola = (min(abs(q), -b) + b) ** 2 + c
        erf = ((q > 0) - (q < 0)) * parabola >> 14
        codes.append(min(max(round(-q * (erf + one) * factor) + y_zero, bounds.min), bounds.max))
    return np.array(codes, np.int64).astype(np.uint8)
