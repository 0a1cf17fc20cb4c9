# SPDX-License-Identifier: Apache-2.0
"""Layer normalization of 8-bit rows in integers, after I-BERT's i-LayerNorm.

I-BERT (Kim et al., ICML 2021) normalizes with an integer square root and one division a row. Here
the row is 8 bits wide, so that the mean need not be rounded: with n x - sum(x) in the place of
x - mean everything up to the square root is exact, and the zero point of x cancels.

One row x[0] ... x[n - 1], 1 <= n <= 4096; uint8 first becomes int8 by subtracting 128 (its top bit
inverted). ``>>`` rounds to minus infinity; widths are bits, s signed, u unsigned.

====  ======  =======================================================================
S     s20     sum of x
Q     u27     sum of x^2                                     (at most 4096 * 2^14)
W     u38     n * Q - S^2                     (n^2 times the variance; both products u39)
V     u46     256 * W + epsilon                              (epsilon: u32, the field ``z``)
s     u5      0 <= s <= 24: the largest with V * 4^s < 2^48   (1 to 19 if W > 0)
R     u24     isqrt(V * 4^s) = floor of the root             (2^23 <= R < 2^24 if V > 0)
f     u25     floor(2^47 / R)                                (2^23 < f <= 2^24)
====  ======  =======================================================================

and for each element j

====  ======  =======================================================================
d     s21     n * x[j] - S
u     s23     (d * f) >> (27 - s)             (normalized, 16 fraction bits; s21 times u25)
p     s46     u * gain[j]                                    (gain: s24)
y     s9      clamp((((p >> shift) + offset[j]) >> 16) + zero_point, low, high)
====  ======  =======================================================================

``shift`` is 0 to 31, ``offset[j]`` s32 with 16 fraction bits, one half for the rounding already in
it, the sum before the last shift s47. If W = 0 (all elements equal, or n = 1) then d = 0 and u = 0
whatever the root is: y = clamp((offset[j] >> 16) + zero_point, low, high).

Uncentred, rows are normalized by their root mean square: x less its zero point, s9, is taken for x
and 0 for S. Then Q is u28, W = n * Q u40, V = 64 * W + epsilon, R and s as before, f less than 2^24
(2^24 becomes 2^24 - 1) and u = (d * f) >> (28 - s): d and u keep their widths.

The widest product has 21 x 25 bits. ``machine.tables`` turns gamma, beta, the scales and ONNX's
epsilon into gain, offset, shift and epsilon.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.machine.tables import normalize_epsilon, normalize_parameters

__all__ = ["normalize", "normalize_rows"]


def normalize(
    x: npt.NDArray[Any],
    gamma: npt.ArrayLike,
    beta: npt.ArrayLike,
    y_scale: float,
    y_zero: int,
    y_dtype: npt.DTypeLike,
    *,
    x_scale: float = 1.0,
    epsilon: float = 0.0,
    x_zero: int | None = None,
) -> npt.NDArray[Any]:
    """Return LayerNormalization over the last axis of ``x``, quantized, of ``x``'s shape; with
    ``x_zero`` RMSNormalization.

    Parameters
    ----------
    x : int8 or uint8, any zero point.
    gamma, beta : real scale and bias, one for each place in a row.
    y_scale, y_zero, y_dtype : quantization of the result.
    x_scale, epsilon : only their ratio epsilon / x_scale^2 counts; it is added to the variance.
    x_zero : zero point of ``x``, whose mean is left in then; None: it does not matter.

    Raises
    ------
    ValueError
        As ``machine.tables.normalize_parameters`` and ``normalize_epsilon``.
    """
    gains, offsets, shift = normalize_parameters(gamma, beta, y_scale)
    constant = normalize_epsilon(x.shape[-1], x_scale, epsilon, uncentred=x_zero is not None)
    bounds = np.iinfo(np.dtype(y_dtype))
    y = normalize_rows(
        x, gains, offsets, shift, constant, y_zero, int(bounds.min), int(bounds.max), x_zero
    )
    return y.astype(y_dtype)


def normalize_rows(
    x: npt.NDArray[Any],
    gains: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int32],
    shift: int,
    epsilon: int,
    zero_point: int,
    low: int,
    high: int,
    x_zero: int | None = None,
) -> npt.NDArray[np.int64]:
    """Return the recipe above along the last axis of ``x`` (int8 or uint8), as int64; uncentred
    where there is ``x_zero``.

    Raises
    ------
    ValueError
        On rows that are not 1 to 4096 long, or gains and offsets of another length.
    """
    n = x.shape[-1]
    if not 1 <= n <= 4096:
        raise ValueError(f"a row has {n} elements; legal: 1 to 4096")
    if gains.shape != (n,) or offsets.shape != (n,):
        raise ValueError(f"{gains.shape} gains, {offsets.shape} offsets; legal: one each for {n}")
    middle = 128 if x.dtype == np.uint8 else 0
    values = x.astype(np.int64) - (middle if x_zero is None else x_zero)
    total = values.sum(axis=-1, keepdims=True) if x_zero is None else np.int64(0)
    squares = (values * values).sum(axis=-1, keepdims=True)
    fraction = 8 if x_zero is None else 6
    spread = ((n * squares - total * total) << fraction) + epsilon
    # frexp gives the bit length: V < 2^46 is exact in a double.
    places = (48 - np.frexp(spread.astype(np.float64))[1].astype(np.int64)) // 2
    root = _isqrt(spread << (2 * places))
    reciprocal = (1 << 47) // np.maximum(root, 1)
    if x_zero is not None:
        reciprocal = np.minimum(reciprocal, (1 << 24) - 1)
    unit = ((n * values - total) * reciprocal) >> (31 - fraction // 2 - places)
    product = (unit * gains.astype(np.int64)) >> shift
    return np.asarray(np.clip(((product + offsets) >> 16) + zero_point, low, high))


def _isqrt(value: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the floor of the square root of ``value`` < 2^48.

    The double nearest to the root never reaches the next integer k < 2^24: the root of k^2 - 1 is
    more than 2^-26 below k, a double's step there is 2^-29.
    """
    return np.floor(np.sqrt(value.astype(np.float64))).astype(np.int64)
