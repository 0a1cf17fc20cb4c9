# SPDX-License-Identifier: Apache-2.0
"""Scales as LiteRT's reference kernels make them: which steps are rounded to binary32, and which
become multiplier and shift in another way than `machine.scales.encode_scale` does it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.machine.scales import FIELDS, quantize_multiplier

__all__ = ["convolution_scale", "mean_scale", "product_scale"]


def convolution_scale(
    x_scale: Any, w_scale: Any, y_scale: Any, dtype: npt.DTypeLike
) -> npt.NDArray[np.float64]:
    """Return ``scale64`` of CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV: Sx Sw / Sy in binary64;
    of uint8, whose kernels are older, as `product_scale`.

    Parameters
    ----------
    x_scale, w_scale, y_scale : binary32; weights have one for all or one per channel.
    """
    x, w, y = (np.asarray(scale, np.float32) for scale in (x_scale, w_scale, y_scale))
    if np.dtype(dtype) == np.uint8:
        return product_scale(x, w, y)
    return np.asarray(x.astype(np.float64) * w / y.astype(np.float64))


def product_scale(x_scale: Any, z_scale: Any, y_scale: Any) -> npt.NDArray[np.float64]:
    """Return ``scale64`` of BATCH_MATMUL: f(Sx Sz) / Sy, f a rounding to binary32."""
    x, z, y = (np.asarray(scale, np.float32) for scale in (x_scale, z_scale, y_scale))
    return np.asarray((x * z).astype(np.float64) / y.astype(np.float64))


def mean_scale(x_scale: float, y_scale: float, count: int) -> npt.NDArray[np.void]:
    """Return MEAN's fields over ``count`` codes, of type `FIELDS`, for a node's ``scale64``: the
    multiplier of Sx / Sy, divided by the count and rounded down.

    Raises
    ------
    ValueError
        Where sums could leave int32 in LiteRT.
    """
    real = float(np.float32(x_scale)) / float(np.float32(y_scale))
    multiplier, shift = quantize_multiplier(real)
    places = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << places) // count, shift - places
    if (255 * count << max(shift, 0)) >= 1 << 31:
        raise ValueError(f"x_scale / y_scale is {real} in a mean of {count}; LiteRT overflows")
    if multiplier < 1 << 30 and shift > 0:  # what moves left is exact, so that this is the same
        multiplier, shift = multiplier << 1, shift - 1
    return np.array((multiplier, shift), FIELDS)
