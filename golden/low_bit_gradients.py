# SPDX-License-Identifier: Apache-2.0
"""Quantization of errors and gradients as WAGE (arXiv 1802.04680) and DoReFa-Net (arXiv 1606.06160)
have it, in integers.

With ``sigma(k) = 2^(1-k)``, ``Q(x, k) = clip(sigma * round(x / sigma), -1 + sigma, 1 - sigma)`` and
``Shift(x) = 2^round(log2 x)``:

- WAGE: errors are ``Q(e / Shift(max |e|), k)``; of gradients ``g_s = eta * g / Shift(max |g|)`` and
  ``dW = sigma(k) * sign(g_s) * (floor(|g_s|) + Bernoulli(|g_s| - floor(|g_s|)))``.
- DoReFa: ``2 M * (quantize_k(g / 2M + 1/2 + N) - 1/2)``, ``M = max |g|``, ``quantize_k(x) =
  round((2^k - 1) x) / (2^k - 1)``, ``N = (u - 1/2) / (2^k - 1)``, u uniform between 0 and 1.

The papers leave ties and random numbers open. Here Q rounds half to even, quantize_k half up, and
the random numbers are `golden.rounding.random_word` / 2^32 of seed, step and the element's flat
index, so that no result depends on the order of work. log2 is rounded exactly.
"""

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.rounding import random_word, round_shift

__all__ = ["dorefa_gradient", "nearest_power", "wage_error", "wage_gradient"]

Int64Array = NDArray[np.int64]

#: Bits of what is quantized, sign included: accumulators.
_LIMIT = 1 << 31


def nearest_power(value: int) -> int:
    """Return ``round(log2 value)`` of a positive integer, exactly.

    Raises
    ------
    ValueError
        For a value below 1.
    """
    if value < 1:
        raise ValueError(f"value is {value}; legal: at least 1")
    # log2 value > n + 1/2 where value^2 > 2^(2n + 1); equal it cannot be.
    return (int(value) ** 2).bit_length() // 2


def wage_error(error: NDArray[np.integer], bits: int = 8) -> Int64Array:
    """Return WAGE's errors: integers of ``bits`` bits in units of 2^(1 - bits); zeros stay zeros.

    Parameters
    ----------
    error : int32 values; a common scale does not matter.
    bits : k, 2 to 16.

    Raises
    ------
    ValueError
        For another k, or values beyond int32.
    """
    x, greatest = _operand(error, bits)
    if not greatest:
        return np.zeros_like(x)
    limit = (1 << (bits - 1)) - 1
    codes = round_shift(x << (bits - 1), nearest_power(greatest), "half_even")
    return np.clip(codes, -limit, limit)


def wage_gradient(
    gradient: NDArray[np.integer],
    rate: int,
    rate_shift: int = 0,
    *,
    seed: int = 0,
    step: int = 0,
    index: int = 0,
) -> Int64Array:
    """Return WAGE's weight steps dW in units of sigma; zeros stay zeros.

    Parameters
    ----------
    gradient : int32 values; a common scale does not matter.
    rate, rate_shift : the learning rate ``eta = rate / 2^rate_shift``; rate 0 to 65535, rate_shift
        0 to 16.
    seed, step : of the random words; ``index`` is the first element's flat index.

    Raises
    ------
    ValueError
        For a rate out of range, or values beyond int32.
    """
    if not (0 <= rate < 1 << 16 and 0 <= rate_shift <= 16):
        raise ValueError(f"rate is {rate} / 2^{rate_shift}; legal: 0 to 65535, a shift of 0 to 16")
    x, greatest = _operand(gradient, 8)
    if not greatest:
        return np.zeros_like(x)
    word = random_word(seed, step, index + np.arange(x.size)).reshape(x.shape)
    return round_shift(x * rate, nearest_power(greatest) + rate_shift, "lfsr", word)


def dorefa_gradient(
    gradient: NDArray[np.integer], bits: int, *, seed: int = 0, step: int = 0, index: int = 0
) -> tuple[Int64Array, int]:
    """Return DoReFa's gradients as odd integers q and M: their values are
    ``M * q / (2^bits - 1)``, q from -(2^bits - 1) to 2^bits - 1. Of zeros alone, q and M are 0.

    Parameters
    ----------
    gradient : int32 values.
    bits : k, 2 to 16.
    seed, step : of the random words; ``index`` is the first element's flat index.

    Raises
    ------
    ValueError
        For another k, or values beyond int32.
    """
    x, greatest = _operand(gradient, bits)
    if not greatest:
        return np.zeros_like(x), 0
    levels = (1 << bits) - 1
    word = random_word(seed, step, index + np.arange(x.size)).reshape(x.shape)
    # floor(levels * (x + M) / 2M + u), u = word / 2^32: the quotient's remainder is compared with
    # 1 - u, both sides as 64 unsigned bits. A word of 0 never rounds up.
    whole, rest = np.divmod(levels * (x + greatest), 2 * greatest)
    below = (np.uint64(1 << 32) - word.astype(np.uint64)) * np.uint64(2 * greatest)
    up = (word > 0) & (rest.astype(np.uint64) << np.uint64(32) >= below)
    return 2 * (whole + up) - levels, greatest


def _operand(values: NDArray[np.integer], bits: int) -> tuple[Int64Array, int]:
    if not 2 <= bits <= 16:
        raise ValueError(f"bits is {bits}; legal: 2 to 16")
    x = np.asarray(values, np.int64)
    greatest = int(np.abs(x).max(initial=0))
    if greatest > _LIMIT or (x == _LIMIT).any():
        raise ValueError(f"values reach {greatest} in magnitude; legal: int32")
    return x, greatest
