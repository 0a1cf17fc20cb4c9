# SPDX-License-Identifier: Apache-2.0
"""The node of transposed convolutions; what all nodes have is in `compiler.graph.node`."""

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.tensor import Pair, Tensor

__all__ = ["ConvTransposeNode"]


@dataclass(frozen=True, eq=False)
class ConvTransposeNode(BaseNode):
    """2-D transposed convolution: input pixel i adds, for each tap k, its products to place
    i * stride - pad + k * dilation of the sums, which are requantized as `ConvNode` says.

    Members
    -------
    x, y : N C H W (or N C L), channels last in memory.
    weights : int8, out channels x (in channels / groups) x kernel height x kernel width.
    weight_zero, bias, scale, scale64 : one per out channel, as in `ConvNode`.
    strides, dilations : vertical, horizontal.
    pads : top, left; the far sides follow from y. Negative where nothing reaches the first rows.
    promise : "near": ONNX Runtime has no integer form of it.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    weights: NDArray[np.int8]
    weight_zero: NDArray[np.int16]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    scale64: NDArray[np.float64]
    groups: int
    strides: Pair
    pads: Pair
    dilations: Pair
    low: int
    high: int
    promise: Promise = "near"
    kind: ClassVar[str] = "conv_transpose"

    @property
    def kernel(self) -> Pair:
        """Kernel height and width."""
        return cast(Pair, self.weights.shape[2:])

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates, those that are cut off included."""
        images, _, height, width = self.x.image
        return images * height * width * self.weights.size
