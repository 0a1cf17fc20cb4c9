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
from compiler.operators.context import node_name
from compiler.reference import node_reference
from compiler.session import open_session
from compiler.subgraph import subgraph
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
        expected = _reference(lowered, node, tensors) if comparable else None
        if expected is not None:
            compared += expected.size
            differ += int(np.count_nonzero(tensors[node.y.name] != expected))
    return Verdict("runtime-exact" if all(exact) else "golden-exact", compared, differ)


def _reference(
    lowered: LoweredModel, node: Node, tensors: Mapping[str, NDArray[Any]]
) -> NDArray[Any] | None:
    """Return ONNX Runtime's result for a node's real inputs, None where there is none."""
    if isinstance(node, DynamicLinearNode):
        return _dynamic_reference(lowered, node, tensors)
    return node_reference(lowered, node, tensors)


def _dynamic_reference(
    lowered: LoweredModel, node: DynamicLinearNode, tensors: Mapping[str, NDArray[Any]]
) -> NDArray[np.uint8] | None:
    """Return the bytes for the values, scale and zero point that the node's input really had."""
    operators = lowered.model.graph.node
    source = next((n for n in operators if node.x.name in n.output), None)
    sums = [n for n in operators if node.x.name in n.input and node_name(n) == node.name]
    if source is None or len(sums) != 1:
        return None
    values, scale, zero = source.output
    start = 16 * node.slot
    record = np.ascontiguousarray(tensors[node.x_record.name])[start : start + 16]
    given = {
        values: tensors[values],
        scale: record[:4].view("<f4").reshape(()),
        zero: record[4:5].reshape(()),
    }
    target = sums[0].output[0] if node.target is None else node.y.name
    made = subgraph(lowered.model, {k: (v.dtype, v.ndim) for k, v in given.items()}, target)
    read = {value.name for value in made.graph.input}
    session = open_session(made, lowered.settings)
    (result,) = session.run([target], {k: v for k, v in given.items() if k in read})
    return np.ascontiguousarray(result).view(np.uint8).reshape(node.y.shape)
