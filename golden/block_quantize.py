# SPDX-License-Identifier: Apache-2.0
"""Local dynamic quantization: every block of an int32 tensor gets a scale from its own maximum.

After Cambricon-Q (ISCA 2021). The scale is a power of two (``pot``) or the block's maximum
divided by 127 (``free``); quantizing is one pass because a block waits for its own scale only.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kiwicha.golden.rounding import random_word, round_shift

__all__ = ["FRACTION", "QuantizedBlocks", "block_quantize", "dequantize"]

Int64Array = npt.NDArray[np.int64]

#: Bits behind the point of the ``free`` scale's reciprocal: the 32 of a value and 8 more.
FRACTION = 40


@dataclass(frozen=True)
class QuantizedBlocks:
    """A quantized tensor.

    Members
    -------
    values : int8 array of the tensor's shape.
    magnitude : greatest absolute value of each block, in order.
    shift : of each block; ``pot``: the scale is ``2**shift``, ``free``: unused and 0.
    """

    values: npt.NDArray[np.int8]
    magnitude: Int64Array
    shift: Int64Array


def block_quantize(
    x: npt.ArrayLike,
    block: int,
    *,
    scaling: str = "pot",
    rounding: str = "half_even",
    seed: int = 0,
    step: int = 0,
    index: int = 0,
) -> QuantizedBlocks:
    """Quantize int32 values to int8 in blocks of ``block`` consecutive elements (row-major).

    The last block may be shorter. With M the block's greatest magnitude and L its bit length:
    ``pot``: ``q = saturate(round(x / 2**s))``, ``s = max(0, L - 7)``.
    ``free``: ``q = saturate(round(x * m / 2**40))``, ``m = floor(127 * 2**40 / M)``; the scale is
    M / 127. A block of zeros gives zeros, shift 0 and M = 0.

    Parameters
    ----------
    scaling : ``pot`` or ``free``.
    rounding : one of ``golden.rounding.ROUNDINGS``.
    seed, step : of the random words (``lfsr``); ``index`` is the first element's flat index.

    Raises
    ------
    ValueError
        For a block below 1, an unknown scaling or rounding, or values beyond int32.
    """
    tensor = np.asarray(x, np.int64)
    flat = tensor.ravel()
    if block < 1:
        raise ValueError(f"block is {block}; legal: at least 1")
    if scaling not in ("pot", "free"):
        raise ValueError(f"scaling is {scaling!r}; legal: pot, free")
    if flat.size and (flat.min() < -(1 << 31) or flat.max() >= 1 << 31):
        raise ValueError(f"x holds {flat.min()} to {flat.max()}; legal: int32")
    word = random_word(seed, step, index + np.arange(flat.size)) if rounding == "lfsr" else 0
    blocks = -(-flat.size // block)
    padded = np.zeros(blocks * block, np.int64)
    padded[: flat.size] = np.abs(flat)
    magnitude = padded.reshape(blocks, block).max(axis=1)
    lengths = np.array([int(value).bit_length() for value in magnitude], np.int64)
    if scaling == "pot":
        shift = np.maximum(lengths - 7, 0)
        q = round_shift(flat, np.repeat(shift, block)[: flat.size], rounding, word)
    else:
        shift = np.zeros_like(lengths)
        # At most 127 * 2^40 with its sign: the products fit in 64 bits.
        reciprocal = np.where(magnitude > 0, (127 << FRACTION) // np.maximum(magnitude, 1), 0)
        product = flat * np.repeat(reciprocal, block)[: flat.size]
        q = round_shift(product, FRACTION, rounding, word)
    values = np.clip(q, -128, 127).astype(np.int8).reshape(tensor.shape)
    return QuantizedBlocks(values, magnitude, shift)


def dequantize(
    quantized: QuantizedBlocks, block: int, scaling: str = "pot"
) -> npt.NDArray[np.float64]:
    """Return the float values that ``quantized`` stands for, in the unit of the input."""
    scale = 2.0**quantized.shift if scaling == "pot" else quantized.magnitude / 127
    values = quantized.values
    return np.asarray(values * np.repeat(scale, block)[: values.size].reshape(values.shape))
