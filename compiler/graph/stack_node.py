# SPDX-License-Identifier: Apache-2.0
"""The node of products with a stack of constant matrices; what all nodes have is in
`compiler.graph.node`."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.node import BaseNode
from kiwicha.compiler.graph.tensor import Tensor

__all__ = ["MatMulStackNode"]


@dataclass(frozen=True, eq=False)
class MatMulStackNode(BaseNode):
    """Matrix products with constant weights, a matrix for each place of the leading axes, which
    broadcast as NumPy's do; arithmetic as in `ProductNode`.

    Members
    -------
    x : ... M K; its last axis is contiguous in memory (`Tensor.strides`).
    y : ... M N; its last axis is contiguous in memory.
    weights : int8, ... x K x N.
    weight_zero : -128 to 127, one for all.
    """

    name: str
    op: str
    x: Tensor
    y: Tensor
    weights: NDArray[np.int8]
    weight_zero: int
    scale: np.float32
    scale64: np.float64
    low: int
    high: int
    kind: ClassVar[str] = "matmul_stack"

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.y.size * self.x.shape[-1]
