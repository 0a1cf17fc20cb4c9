# SPDX-License-Identifier: Apache-2.0
"""What precedes the quantization of a graph input in float: the host computes it, as it quantizes.

Functions of single elements, such as the scaling of an image, normalizations and means. ONNX
Runtime runs them there, so that the codes are its own; nothing else is left to the host unasked.
"""

from collections.abc import Container
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.graph.graph import Shape, Value
from kiwicha.compiler.graph.host_operators import HostFunction
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.operator import Rule
from kiwicha.compiler.ops.reduction import reduced_axes
from kiwicha.compiler.ops.registry import is_elementwise

__all__ = ["host_first", "split"]

_NORMALIZATIONS = (
    "BatchNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
    "RMSNormalization", "SimplifiedLayerNormalization",
)
_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare")


def host_first(context: Context, node: onnx.NodeProto) -> Rule | None:
    """Return the rule for a node that reads one graph input, or what the host makes of it, and
    constants; None for others."""
    if node.op_type not in (*_NORMALIZATIONS, *_REDUCTIONS) and not is_elementwise(node.op_type):
        return None
    varying = [name for name in node.input if name and name not in context.constants]
    values = [context.floats[name] for name in varying if name in context.floats]
    plain = values and len(values) == len(varying) and not context.unknown.intersection(varying)
    sources = {id(value.origin) for value in values if isinstance(value.origin, Value)}
    lone = sum(bool(name) and context.uses[name] > 0 for name in node.output) == 1
    if not plain or not lone or len(sources) != 1 or len(values) != len(
        [value for value in values if isinstance(value.origin, Value)]
    ):
        return None
    return _on_host


def _on_host(context: Context, node: onnx.NodeProto) -> None:
    value = next(context.floats[name] for name in node.input if name in context.floats)
    done = FloatOp("host", node, _shape(context, node, value.shape))
    context.floats[node.output[0]] = FloatValue(value.origin, (*value.operations, done))


def _shape(context: Context, node: onnx.NodeProto, shape: Shape) -> Shape:
    if node.op_type in _NORMALIZATIONS:
        return shape
    if node.op_type in _REDUCTIONS:
        return reduced_axes(context, node, shape).shape
    shapes = [context.floats[name].shape for name in node.input if name in context.floats]
    shapes += [context.constants[name].shape for name in node.input if name in context.constants]
    return np.broadcast_shapes(*shapes)


def split(
    context: Context, node: onnx.NodeProto, value: FloatValue, kinds: Container[str] = ("host",)
) -> tuple[HostFunction | None, Shape, tuple[FloatOp, ...]]:
    """Return what the host computes of a graph input, the shape of that, and the operations behind
    it: all up to the last of some kinds."""
    places = [place for place, op in enumerate(value.operations) if op.kind in kinds]
    if not places:
        return None, value.origin.shape, value.operations
    last = value.operations[places[-1]]
    source, name = value.origin, last.node.output[0]
    part = subgraph(context.model, {source.name: (source.dtype, len(source.shape))}, name)
    session = open_session(part, context.settings)

    def run(array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(session.run([name], {source.name: array.astype(np.float32)})[0])

    operators = tuple(made.op_type for made in part.graph.node)
    what = ", ".join(kind for kind in operators if kind != "Constant")
    context.note(node, f"{what}: computed by the host, which quantizes the result")
    made = HostFunction(operators, part.SerializeToString(), run)
    return made, last.shape, value.operations[places[-1] + 1 :]
