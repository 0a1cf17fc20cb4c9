# SPDX-License-Identifier: Apache-2.0
"""2-D transposed convolution of 8-bit integers, exact; arrays are N C H W as in ONNX.

By its definition, as ONNX's ConvTranspose has it: every input pixel, times every tap, is added to
one place of the output.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kiwicha.golden.conv import wrap_int32

__all__ = ["conv_transpose2d"]


def conv_transpose2d(
    x: NDArray[np.integer],
    weights: NDArray[np.integer],
    size: tuple[int, int],
    *,
    x_zero: int = 0,
    weight_zero: ArrayLike = 0,
    groups: int = 1,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int] = (0, 0),
    dilations: tuple[int, int] = (1, 1),
) -> NDArray[np.int32]:
    """Return the int32 accumulators, N x O x size: input pixel i adds, for each tap k, to place
    i * stride - pad + k * dilation where that is inside.

    Parameters
    ----------
    x : N x C x H x W, int8 or uint8.
    weights : O x C/groups x kernel height x kernel width, int8 or uint8.
    size : height and width of the result.
    x_zero, weight_zero : zero points; the weights' one for all or one per output channel.
    pads : top, left: what is cut off there; negative where zeros come before.
    """
    images, channels, *image = x.shape
    outputs, per_group, *kernel = weights.shape
    if channels != per_group * groups or outputs % groups:
        raise ValueError(f"{channels} channels, weights {weights.shape}, {groups} groups")
    zero = np.broadcast_to(np.asarray(weight_zero, np.int64), (outputs,))
    # Products of 9-bit operands sum exactly in binary64 up to 2^53, far more than fits in memory.
    w = (weights.astype(np.int64) - zero[:, None, None, None]).astype(np.float64)
    w = w.reshape(groups, outputs // groups, per_group, *kernel)
    real = (x.astype(np.float64) - x_zero).reshape(images, groups, per_group, *image)
    total = np.zeros((images, outputs, *size), np.int64)
    for tap in np.ndindex(*kernel):
        products = np.einsum("ngchw,goc->ngohw", real, w[..., tap[0], tap[1]], optimize=True)
        products = products.reshape(images, outputs, *image)
        target, source = [slice(None)] * 2, [slice(None)] * 2
        for axis in (0, 1):
            first = tap[axis] * dilations[axis] - pads[axis]
            place = np.arange(image[axis]) * strides[axis] + first
            inside = np.flatnonzero((place >= 0) & (place < size[axis]))
            if not inside.size:
                break
            least, most = int(inside[0]), int(inside[-1])
            target.append(slice(int(place[least]), int(place[most]) + 1, strides[axis]))
            source.append(slice(least, most + 1))
        else:
            total[tuple(target)] += products[tuple(source)].astype(np.int64)
    return wrap_int32(total)
