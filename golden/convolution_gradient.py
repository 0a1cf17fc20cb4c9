# SPDX-License-Identifier: Apache-2.0
"""Backward rules of a 2-D convolution of 8-bit integers, exact; arrays are N C H W as in ONNX.

The forward pass, FP, is `golden.conv.conv2d`; these are error backpropagation, EB, and the weight
gradient, WG, as Cambricon-Q (ISCA 2021) names them. Both are convolutions themselves, which is why
one array computes all three: EB has the kernels rotated by a half turn and their channels
exchanged, over an error with zeros between the steps of the stride; WG reduces over images and
pixels. A matrix product is the convolution of an image of one pixel.

Sums are int64 and do not wrap. A machine's accumulators hold them modulo 2^32: they are equal as
long as ``products of one sum * 2^14`` stays below 2^31, that is up to 131 071 products of int8.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kiwicha.golden.conv import patches

__all__ = ["bias_gradient", "input_error", "turned_kernel", "weight_gradient"]

Int64Array = NDArray[np.int64]


def turned_kernel(weights: NDArray[np.integer], groups: int = 1) -> NDArray[np.integer]:
    """Return O x C/groups x R x S weights as EB has them: C x O/groups x R x S, each kernel rotated
    by a half turn.

    Raises
    ------
    ValueError
        Where the groups do not divide the output channels.
    """
    outputs, per_group, *kernel = weights.shape
    if groups < 1 or outputs % groups:
        raise ValueError(f"{groups} groups do not divide {outputs} output channels")
    apart = weights.reshape(groups, outputs // groups, per_group, *kernel)[..., ::-1, ::-1]
    return apart.swapaxes(1, 2).reshape(groups * per_group, outputs // groups, *kernel)


def input_error(
    error: NDArray[np.integer],
    weights: NDArray[np.integer],
    image: tuple[int, int],
    *,
    groups: int = 1,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
) -> Int64Array:
    """Return EB, the error of the convolution's input, N x C x H x W, int64.

    Parameters
    ----------
    error : of its output, N x O x H' x W'; integers of 9 bits at most.
    weights : O x C/groups x R x S; integers of 9 bits at most.
    image : H and W; what no window reaches has error 0.
    pads : of the forward pass: top, left, bottom, right.

    Raises
    ------
    ValueError
        Where shapes do not fit each other.
    """
    _check(error.shape[1], weights.shape, image, error.shape[2:], strides, pads, dilations)
    turned = turned_kernel(weights, groups)
    apart = [(n - 1) * s + 1 for n, s in zip(error.shape[2:], strides, strict=True)]
    spread = np.zeros((*error.shape[:2], *apart))
    spread[:, :, :: strides[0], :: strides[1]] = error
    # What lies before the error is what a window reaches beyond the pads, and behind it whatever
    # makes the result as large as the image.
    before = [
        (k - 1) * d - p for k, d, p in zip(weights.shape[2:], dilations, pads[:2], strict=True)
    ]
    behind = [n - m + p for n, m, p in zip(image, spread.shape[2:], pads[:2], strict=True)]
    around = (before[0], before[1], behind[0], behind[1])
    windows = patches(spread, weights.shape[2:], (1, 1), around, dilations, 0.0)
    # n images, g groups, o outputs of a group, c channels of one: exact in binary64.
    windows = windows.reshape(windows.shape[0], groups, -1, *windows.shape[2:])
    kernels = turned.reshape(groups, -1, *turned.shape[1:]).astype(np.float64)
    sums = np.einsum("ngohwrs,gcors->ngchw", windows, kernels, optimize=True)
    return sums.reshape(len(error), -1, *image).astype(np.int64)


def weight_gradient(
    x: NDArray[np.integer],
    error: NDArray[np.integer],
    kernel: tuple[int, int],
    *,
    groups: int = 1,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    mask: ArrayLike = True,
) -> Int64Array:
    """Return WG, the sums over N * H' * W' that are the gradient of the weights, in their shape,
    O x C/groups x R x S, int64.

    Parameters
    ----------
    x : the input of the forward pass, N x C x H x W; integers of 9 bits at most.
    error : of the output, N x O x H' x W'; integers of 9 bits at most.
    kernel : R and S.
    pads : of the forward pass: top, left, bottom, right; they hold 0.
    mask : broadcasts to the weights; the gradient is 0, and not computed, where it is false.

    Raises
    ------
    ValueError
        Where shapes do not fit each other.
    """
    outputs, channels = error.shape[1], x.shape[1]
    if groups < 1 or outputs % groups or channels % groups or len(x) != len(error):
        raise ValueError(f"images {x.shape}, error {error.shape}, {groups} groups")
    shape = (outputs, channels // groups, *kernel)
    _check(outputs, shape, x.shape[2:], error.shape[2:], strides, pads, dilations)
    windows = patches(x.astype(np.float64), kernel, strides, pads, dilations, 0.0)
    windows = windows[:, :, : error.shape[2], : error.shape[3]]
    windows = windows.reshape(len(x), groups, -1, *windows.shape[2:])
    parts = error.astype(np.float64).reshape(len(x), groups, -1, *error.shape[2:])
    sums = np.einsum("ngohw,ngchwrs->gocrs", parts, windows, optimize=True)
    return np.where(mask, sums.reshape(shape).astype(np.int64), 0)


def bias_gradient(error: NDArray[np.integer]) -> Int64Array:
    """Return the sums of N x O x ... errors over all axes but the second, int64[O]."""
    return error.astype(np.int64).sum(axis=(0, *range(2, error.ndim)))


def _check(
    outputs: int,
    weights: tuple[int, ...],
    image: tuple[int, ...],
    error: tuple[int, ...],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
) -> None:
    expected = tuple(
        (image[k] + pads[k] + pads[k + 2] - (weights[2 + k] - 1) * dilations[k] - 1) // strides[k]
        + 1
        for k in (0, 1)
    )
    if outputs != weights[0] or tuple(error) != expected:
        raise ValueError(
            f"the error has {outputs} channels of {tuple(error)}, the forward pass {weights[0]} "
            f"of {expected}"
        )
