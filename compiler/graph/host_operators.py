# SPDX-License-Identifier: Apache-2.0
"""Graph outputs that the host computes with operators of ONNX, such as indices of the greatest, and
what it makes of graph inputs before it quantizes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.tensor import Shape, Tensor

__all__ = ["HostFunction", "HostOperators"]


@dataclass(frozen=True, eq=False)
class HostFunction:
    """Operators before the first layers, of one graph input; members as of `HostOperators`."""

    operators: tuple[str, ...]
    model: bytes
    run: Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class HostOperators:
    """Operators behind the last layers.

    Members
    -------
    tensors : whose codes are read; none where the output is a constant.
    target, shape, dtype : the graph output.
    operators : op types, in order.
    model : the operators as a serialized ONNX model, from the tensors' codes to the output.
    run : runs the model on arrays in the order of ``tensors``.
    """

    name: str
    tensors: tuple[Tensor, ...]
    target: str
    shape: Shape
    dtype: np.dtype[Any]
    operators: tuple[str, ...]
    model: bytes
    run: Callable[[Sequence[NDArray[Any]]], NDArray[Any]]

    def __call__(self, *arrays: NDArray[Any]) -> NDArray[Any]:
        """Return the graph output; ``arrays`` hold the tensors' values in ONNX order."""
        return self.run(arrays)
