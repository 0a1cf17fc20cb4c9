# SPDX-License-Identifier: Apache-2.0
"""QLinearAveragePool and QLinearGlobalAveragePool as ONNX Runtime (1.31.1, x86-64) computes them.

f rounds to binary32, after every operation.
"""

from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["average_pool", "global_average_pool"]


def average_pool(
    x: NDArray[Any],
    x_scale: np.float32,
    x_zero: int,
    y_scale: np.float32,
    y_zero: int,
    kernel: tuple[int, ...],
    *,
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    output: tuple[int, ...],
    count_include_pad: bool = False,
) -> NDArray[Any]:
    """Return the average of every window: f(Sx * (x - Zx)) added up in order, padding left out,
    divided by the count, and rint(f(f(average / Sy) + Zy)). Windows over the whole of an unpadded
    image go to `global_average_pool`.

    Parameters
    ----------
    x : N x C x spatial axes, int8 or uint8; the result has the same type.
    pads : before each axis, then behind each.
    output : spatial size, which follows from rounding up or down (ceil mode).
    count_include_pad : divide by the kernel's size, else by the values inside the image.
    """
    size = x.shape[2:]
    if kernel == size and not any(pads):
        return global_average_pool(x, x_scale, x_zero, y_scale, y_zero)
    values = (x.astype(np.int32) - x_zero).astype(np.float32) * np.float32(x_scale)
    info = np.iinfo(x.dtype)
    y = np.empty((*x.shape[:2], *output), x.dtype)
    for place in np.ndindex(output):
        starts = [at * step - pad for at, step, pad in zip(place, strides, pads, strict=False)]
        inside: list[Any] = [
            range(max(start, 0), min(start + extent, limit))
            for start, extent, limit in zip(starts, kernel, size, strict=True)
        ]
        total = np.zeros(x.shape[:2], np.float32)
        for at in product(*inside):
            total = total + values[(..., *at)]
        count = prod(kernel) if count_include_pad else prod(map(len, inside))
        real = total / np.float32(count) / np.float32(y_scale) + np.float32(y_zero)
        y[(..., *place)] = np.clip(np.rint(real), info.min, info.max)
    return y


def global_average_pool(
    x: NDArray[Any], x_scale: np.float32, x_zero: int, y_scale: np.float32, y_zero: int
) -> NDArray[Any]:
    """Return the average of every image: the sum of x - Zx as an integer, times
    f(Sx / f(Sy * size)), clamped, rounded, plus Zy.

    Parameters
    ----------
    x : N x C x spatial axes, int8 or uint8; the result has the same type, its spatial axes are 1.
    """
    size = prod(x.shape[2:])
    axes = tuple(range(2, x.ndim))
    total = (x.astype(np.int64) - x_zero).sum(axis=axes, keepdims=True).astype(np.float32)
    scale = np.float32(x_scale) / (np.float32(y_scale) * np.float32(size))
    info = np.iinfo(x.dtype)
    codes = np.rint(np.clip(total * scale, info.min - y_zero, info.max - y_zero)) + y_zero
    return codes.astype(x.dtype)
