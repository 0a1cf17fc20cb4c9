# SPDX-License-Identifier: Apache-2.0
"""Node by node: does the machine give ONNX Runtime's bits for the inputs that it really had?

One layer in another arithmetic, such as integer normalization, makes the outputs of the whole model
incomparable. Each other node is judged by itself then, on the tensors that the machine left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import AddNode, DynamicLinearNode, Node, SoftmaxNode, TableNode, ViewNode
from compiler.lower import LoweredModel
from compiler.reference import node_reference
from hw.config import AcceleratorConfig, RequantizeMode, SoftmaxMode

__all__ = ["Verdict", "judge", "runtime_exact"]


@dataclass(frozen=True)
class Verdict:
    """Members
    -------
    promise : "runtime-exact" or "golden-exact".
    compared : elements that ONNX Runtime computed too; 0 where no node could be compared.
    differ : those of them that are different.
    """

    promise: str
    compared: int
    differ: int


def runtime_exact(node: Node, config: AcceleratorConfig) -> bool:
    """Whether a node's bits are to be those of ONNX Runtime on this machine."""
    if node.promise != "runtime":
        return False
    if isinstance(node, SoftmaxNode):
        return config.softmax_mode is SoftmaxMode.ONNX
    if isinstance(node, AddNode | DynamicLinearNode | TableNode | ViewNode):
        return True
    return config.requantize_mode is RequantizeMode.ONNX


def judge(
    lowered: LoweredModel,
    nodes: tuple[Node, ...],
    config: AcceleratorConfig,
    tensors: Mapping[str, NDArray[Any]],
) -> Verdict:
    """Compare the nodes of a layer with ONNX Runtime.

    Parameters
    ----------
    tensors : what the machine computed, in ONNX order, by name.
    """
    exact = [runtime_exact(node, config) for node in nodes]
    compared = differ = 0
    for node, comparable in zip(nodes, exact, strict=True):
        expected = node_reference(lowered, node, tensors) if comparable else None
        if expected is not None:
            compared += expected.size
            differ += int(np.count_nonzero(tensors[node.y.name] != expected))
    return Verdict("runtime-exact" if all(exact) else "golden-exact", compared, differ)
