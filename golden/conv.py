# SPDX-License-Identifier: Apache-2.0
"""2-D convolution of 8-bit integers, exact; arrays are N C H W as in ONNX.

The sums are those of ONNX Runtime's QLinearConv: zero points taken off both operands, padding
contributes nothing, int32 accumulation with wrap-around.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

__all__ = ["conv2d", "far_pads", "patches", "wrap_int32"]


def conv2d(
    x: NDArray[np.integer],
    weights: NDArray[np.integer],
    *,
    x_zero: int = 0,
    weight_zero: ArrayLike = 0,
    groups: int = 1,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
) -> NDArray[np.int32]:
    """Return the int32 accumulators, N x O x H' x W'.

    Parameters
    ----------
    x : N x C x H x W, int8 or uint8.
    weights : O x C/groups x kernel height x kernel width, int8 or uint8.
    x_zero, weight_zero : zero points; the weights' one for all or one per output channel.
    pads : top, left, bottom, right.
    """
    images, channels = x.shape[:2]
    outputs, per_group, *kernel = weights.shape
    if channels != per_group * groups or outputs % groups:
        raise ValueError(f"{channels} channels, weights {weights.shape}, {groups} groups")
    zero = np.broadcast_to(np.asarray(weight_zero, np.int64), (outputs,))
    # Products of 9-bit operands sum exactly in binary64 up to 2^53, far more than fits in memory.
    w = (weights.astype(np.int64) - zero[:, None, None, None]).astype(np.float64)
    windows = patches(x.astype(np.float64) - x_zero, kernel, strides, pads, dilations, 0.0)
    height, width = windows.shape[2:4]
    total = np.empty((images, outputs, height, width), np.int64)
    step = outputs // groups
    for group in range(groups):
        taken = windows[:, group * per_group : (group + 1) * per_group]
        chosen = slice(group * step, (group + 1) * step)
        matrix = taken.transpose(0, 2, 3, 1, 4, 5).reshape(images * height * width, -1)
        sums = matrix @ w[chosen].reshape(step, -1).T
        total[:, chosen] = sums.reshape(images, height, width, step).transpose(0, 3, 1, 2)
    return wrap_int32(total)


def patches(
    x: NDArray[np.floating],
    kernel: ArrayLike,
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    padding: float,
) -> NDArray[np.floating]:
    """Return every window of N x C x H x W as N x C x H' x W' x kernel height x kernel width; where
    pads are negative, windows begin or end inside the image."""
    top, left, bottom, right = pads
    around = [(max(before, 0), max(after, 0)) for before, after in ((top, bottom), (left, right))]
    padded = np.pad(x, ((0, 0), (0, 0), *around), constant_values=padding)
    inside = [
        slice(max(-before, 0), size - max(-after, 0))
        for size, before, after in zip(padded.shape[2:], (top, left), (bottom, right), strict=True)
    ]
    padded = padded[:, :, inside[0], inside[1]]
    extent = (np.asarray(kernel) - 1) * dilations + 1
    if padded.shape[2] < extent[0] or padded.shape[3] < extent[1]:
        raise ValueError(f"kernel spans {tuple(extent)}, the padded image {padded.shape[2:]}")
    windows = sliding_window_view(padded, tuple(extent), axis=(2, 3))
    return windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def wrap_int32(value: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the low 32 bits as a signed number."""
    return value.astype(np.int64).astype(np.uint32).view(np.int32)


def far_pads(node: Any) -> tuple[int, int, int, int]:
    """Return pads that reach as far as the last window of ``node.image`` does; negative where the
    image does not end there."""
    ends = []
    for axis in (0, 1):
        last = (node.image[2 + axis] - 1) * node.strides[axis] - node.pads[axis]
        extent = (node.weights.shape[2 + axis] - 1) * node.dilations[axis] + 1
        ends.append(last + extent - node.x.image[2 + axis])
    return (*node.pads, *ends)
