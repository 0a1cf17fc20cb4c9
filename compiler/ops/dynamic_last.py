# SPDX-License-Identifier: Apache-2.0
"""What stands between a dynamically quantized layer and a graph output: the host computes it of the
float values that it makes of the sums, where that is a function of single elements or of rows."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.graph.graph import Shape
from kiwicha.compiler.graph.host_operators import HostFunction
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import REST
from kiwicha.compiler.ops.registry import is_elementwise

__all__ = ["is_last", "last_function", "refuse_rest"]

_ROWS = ("Clip", "LogSoftmax", "Softmax")


def is_last(context: Context, node: onnx.NodeProto, rank: int) -> bool:
    """Whether a node keeps the shape of the one value that it reads, and leads to graph outputs
    through such nodes alone."""
    if not (is_elementwise(node.op_type) or node.op_type in _ROWS) or len(node.output) != 1:
        return False
    others = [name for name in node.input if name and name not in context.constants]
    scalars = [context.constants[name] for name in node.input if name in context.constants]
    if len(set(others)) != 1 or any(c.size != 1 or c.ndim > rank for c in scalars):
        return False
    readers = context.readers[node.output[0]]
    shown = node.output[0] in {value.name for value in context.model.graph.output}
    return (shown or bool(readers)) and all(is_last(context, each, rank) for each in readers)


def refuse_rest(context: Context, node: onnx.NodeProto, name: str) -> None:
    """Refuse a node that may not follow a layer.

    Parameters
    ----------
    name : of the float value that it reads, which a model could end at; empty for none.
    """
    way = "use quantize_static or --host-fallback"
    if name and node.output[0] in {value.name for value in context.model.graph.output}:
        way = f"let the model end at '{name}' and compute {node.op_type} of that, or {way}"
    REST.check(following=node.op_type, way=way, known=False)


def last_function(context: Context, source: str, shape: Shape, name: str) -> HostFunction:
    """Return what makes graph output ``name`` of a layer's float value ``source``."""
    part = subgraph(context.model, {source: (np.dtype(np.float32), len(shape))}, name)
    session = open_session(part, context.settings)

    def run(array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(session.run([name], {source: array})[0])

    operators = tuple(node.op_type for node in part.graph.node)
    return HostFunction(operators, part.SerializeToString(), run)
