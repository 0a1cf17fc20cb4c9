# SPDX-License-Identifier: Apache-2.0
"""Node by node: does the machine give ONNX Runtime's bits for the inputs that it really had?

One layer in another arithmetic, such as integer normalization, makes the outputs of the whole model
incomparable. Each other node is judged by itself then, on the tensors that the machine left. Where
the runtime itself is far from the model as it was given, that is found too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.lower import LoweredModel
from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.frontend.tflite.model import TfliteModel
from kiwicha.compiler.graph.graph import (
    DynamicConvNode,
    DynamicLinearNode,
    DynamicProductNode,
    DynamicRealNode,
    DynamicScaleNode,
    Graph,
    Node,
    NormalizeNode,
    PairNode,
    Promise,
    SoftmaxNode,
    TableNode,
    ViewNode,
)
from kiwicha.compiler.graph.node import PROMISES
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import RequantizeMode, SoftmaxMode
from kiwicha.sim.host import products_saturate
from kiwicha.sim.litert import file_values, made_tensor, operator_reference
from kiwicha.sim.reference import chain_of, named_view, node_reference

__all__ = ["FAR", "Verdict", "judge", "promise_of", "promised"]


_UNROUNDED = (
    DynamicLinearNode | DynamicProductNode | DynamicRealNode | DynamicScaleNode | NormalizeNode
    | PairNode | TableNode | ViewNode
)
"""Nodes whose bits are those of no mode of the requantizer."""
_RANGED = ViewNode | DynamicLinearNode | DynamicProductNode | DynamicRealNode | DynamicScaleNode
_Dynamic = DynamicLinearNode | DynamicProductNode
FAR = 2
"""Codes by which the runtime's integers may be off the float that is written before it is said."""


@dataclass(frozen=True)
class Verdict:
    """Members
    -------
    promise : "runtime-exact", "within one code" of the runtime's float, or "golden-exact".
    compared : elements that ONNX Runtime computed too; 0 where no node could be compared.
    differ : those of them that break the promise.
    rounded : those that are one code off the runtime's float, where that is promised.
    off : largest distance, in codes, between the runtime's own integers and what the model as
        given says in float; 0 where that is at most `FAR`.
    """

    promise: str
    compared: int
    differ: int
    rounded: int = 0
    off: int = 0


def promise_of(
    node: Node, config: AcceleratorConfig, exact: RequantizeMode = RequantizeMode.ONNX
) -> Promise:
    """Return how close a node's bits are to be to those of the model's runtime on this machine.

    Parameters
    ----------
    exact : the machine's mode that has the runtime's rounding; of `Graph.requantize`.
    """
    if isinstance(node, SoftmaxNode):
        onnx = exact is RequantizeMode.ONNX
        mode = SoftmaxMode.ONNX if onnx else SoftmaxMode.TFLITE
        return node.promise if config.special.softmax is mode else "golden"
    if isinstance(node, _UNROUNDED):
        return node.promise
    return node.promise if config.requantize_mode is exact else "golden"


def judge(
    lowered: LoweredModel,
    graph: Graph,
    nodes: tuple[Node, ...],
    config: AcceleratorConfig,
    tensors: Mapping[str, NDArray[Any]],
) -> Verdict:
    """Compare the nodes of a layer with ONNX Runtime.

    Parameters
    ----------
    nodes : some of ``graph``.
    tensors : what the machine computed, in ONNX order, by name.
    """
    if isinstance(lowered, TfliteModel):
        return _judge_tflite(lowered, graph, nodes, config, tensors)
    compared = differ = rounded = off = 0
    for made in nodes:
        if made.y.name in graph.wholes:  # steps of what the runtime computes in float
            continue
        node = named_view(graph, made, lowered.runtime)
        chain, _ = chain_of(graph, node, lowered.runtime)
        promise = _weakest(chain, config)
        expected = None if promise == "golden" else _reference(lowered, graph, node, tensors)
        if expected is None:
            continue
        distance = _distance(tensors[node.y.name], expected)
        compared += expected.size
        allowed = promise == "near"
        differ += int(np.count_nonzero(distance > allowed))
        rounded += int(np.count_nonzero(distance == 1)) if allowed else 0
        if not isinstance(made, _RANGED):
            off = max(off, _off(lowered, graph, node, tensors, expected))
    return Verdict(promised(nodes, config), compared, differ, rounded, off)


def _judge_tflite(
    lowered: TfliteModel, graph: Graph, nodes: tuple[Node, ...], config: AcceleratorConfig,
    tensors: Mapping[str, NDArray[Any]],
) -> Verdict:
    """Compare the nodes of a layer with LiteRT's reference kernels, each operator for the inputs
    that it really had."""
    compared = differ = rounded = 0
    values, exact = file_values(graph, tensors), graph.requantize
    for node in nodes:
        name, promise = made_tensor(lowered, graph, node), promise_of(node, config, exact)
        if promise == "golden" or name is None:
            continue
        distance = _distance(values[name], operator_reference(lowered, name, values))
        compared += distance.size
        near = promise == "near"
        differ += int(np.count_nonzero(distance > near))
        rounded += int(np.count_nonzero(distance == 1)) if near else 0
    return Verdict(promised(nodes, config, exact), compared, differ, rounded)


def promised(
    nodes: Iterable[Node], config: AcceleratorConfig, exact: RequantizeMode = RequantizeMode.ONNX
) -> str:
    """Return in words what nodes that are one layer promise together."""
    return PROMISES[_weakest(nodes, config, exact)]


def _weakest(
    nodes: Iterable[Node], config: AcceleratorConfig, exact: RequantizeMode = RequantizeMode.ONNX
) -> Promise:
    return max((promise_of(node, config, exact) for node in nodes), key=list(PROMISES).index)


def _distance(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int32]:
    return np.abs(a.astype(np.int32) - b.astype(np.int32))


def _off(
    lowered: LoweredModel,
    graph: Graph,
    node: Node,
    tensors: Mapping[str, NDArray[Any]],
    expected: NDArray[Any],
) -> int:
    """Return how far the runtime is from the model as given, 0 where that is no news."""
    written = node_reference(lowered, graph, node, tensors, written=True)
    if written is None or written.dtype != expected.dtype:
        return 0
    worst = int(_distance(expected, written).max(initial=0))
    return worst if worst > FAR else 0


def _reference(
    lowered: LoweredModel, graph: Graph, node: Node, tensors: Mapping[str, NDArray[Any]]
) -> NDArray[Any] | None:
    """Return ONNX Runtime's result for a node's real inputs, None where there is none."""
    model = lowered.model if products_saturate() else lowered.runtime
    chain, _ = chain_of(graph, node, model)
    first = next((each for each in chain if isinstance(each, _Dynamic)), None)
    if isinstance(node, DynamicRealNode):
        return _real_reference(lowered, model, node, tensors)
    if isinstance(first, DynamicLinearNode) and first.real:
        return None  # nobody has a name for such bytes
    if first is not None:
        return _dynamic_reference(lowered, model, first, node, tensors)
    return node_reference(lowered, graph, node, tensors)


def _real_reference(
    lowered: LoweredModel, model: onnx.ModelProto, node: DynamicRealNode,
    tensors: Mapping[str, NDArray[Any]],
) -> NDArray[Any] | None:
    """Return what DynamicQuantizeLinear makes of the numbers that were in memory; None where the
    model has another shape for them."""
    made = next((n for n in model.graph.node if node.y.name in n.output), None)
    if made is None or made.op_type != "DynamicQuantizeLinear":
        return None
    lines = [part.values(tensors[part.x.name]) for part in node.parts]
    values = node.y.layout.invert(np.concatenate(lines, axis=1).reshape(-1), node.y.shape)
    source = made.input[0]
    part = subgraph(model, {source: (values.dtype, values.ndim)}, node.y.name)
    (result,) = open_session(part, lowered.settings).run([node.y.name], {source: values})
    return np.asarray(result).reshape(node.y.shape)


def _dynamic_reference(
    lowered: LoweredModel, model: onnx.ModelProto, node: _Dynamic, last: Node,
    tensors: Mapping[str, NDArray[Any]],
) -> NDArray[Any] | None:
    """Return what a layer and the pools and views behind it, up to ``last``, make of the values,
    scale and zero point that its input really had; None where the model has no name for that."""
    operators = model.graph.node
    sums = [n for n in operators if node.x.name in n.input and node_name(n) == node.name]
    if len(sums) != 1:
        return None
    operands = [(node.x, node.x_record, node.slot)]
    if isinstance(node, DynamicProductNode):
        operands.append((node.z, node.z_record, node.z_slot))
    given = {}
    for tensor, record, slot in operands:
        given[tensor.name] = tensors[tensor.name]
        if record is None:
            continue
        source = next((n for n in operators if tensor.name in n.output), None)
        if source is None:
            return None
        _, scale, zero = source.output
        found = np.ascontiguousarray(tensors[record.name])[16 * slot : 16 * slot + 16]
        given |= {scale: found[:4].view("<f4").reshape(()), zero: found[4:5].reshape(())}
    target = sums[0].output[0] if node.target is None else last.y.name
    if not any(target in n.output for n in operators):
        return None
    made = subgraph(model, {k: (v.dtype, v.ndim) for k, v in given.items()}, target)
    read = {value.name for value in made.graph.input}
    session = open_session(made, lowered.settings)
    (result,) = session.run([target], {k: v for k, v in given.items() if k in read})
    if node.target is None:
        result = np.moveaxis(result, 1, -1) if isinstance(node, DynamicConvNode) else result
        result = np.ascontiguousarray(result).view(np.uint8)
        if result.size != last.y.size:  # some columns of it, by which the host goes on
            return None
    return result.reshape(last.y.shape)
