# SPDX-License-Identifier: Apache-2.0
"""Layers of TFLite that round once, halves away from zero: FULLY_CONNECTED, AVERAGE_POOL_2D.

Reference kernels of LiteRT: the first multiplies the sum, bias included, by the binary64 number
``Sx * Sw / Sy``; the second divides the sum of codes by their number. Neither makes a multiplier of
31 bits first, as convolutions do (`golden.requantize.requantize_tflite`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.litert import dense

__all__ = ["rounded_away"]


def rounded_away(node: Any, acc: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the codes of a node whose member ``away`` is set, in the type of its result.

    Parameters
    ----------
    shape : how scales and biases lie along ``acc``, where they are not one for all.
    """
    scale = np.reshape(node.scale64, shape if np.size(node.scale64) > 1 else ())
    if node.kind == "pool":
        count = np.rint(1 / scale).astype(np.int64)
        size = (np.abs(acc.astype(np.int64)) + count // 2) // count
        codes = np.clip(np.sign(acc) * size, node.low, node.high)
    else:
        bias = np.asarray(node.bias, np.int64)
        total = (acc + np.reshape(bias, shape if bias.size > 1 else ())).astype(np.int32)
        codes = dense(total.astype(np.int64), scale, node.y.zero_point, node.low, node.high)
    return codes.astype(node.y.dtype).reshape(node.y.shape)
