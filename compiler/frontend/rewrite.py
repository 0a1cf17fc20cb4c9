# SPDX-License-Identifier: Apache-2.0
"""Our own rules on the model that ONNX Runtime lowered; none of them changes a bit of it.

The compiler reads the result. The reference never does, but on processors on which ONNX Runtime's
own products are wrong (`sim.reference`).
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kiwicha.compiler.frontend.load import Constants
from kiwicha.compiler.frontend.names import Names

__all__ = ["rewritten"]

_WEIGHT = {
    "QLinearConv": (3, 5, 2), "QLinearMatMul": (3, 5, 2), "QGemm": (3, 5, 2),
    "MatMulInteger": (1, 3, 2), "ConvInteger": (1, 3, 2),
}
"""Places of the weights, of their zero point, and of that of the activations."""


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model after every rule; itself where none changes anything."""
    named = any(node.op_type == "Constant" for node in model.graph.node)
    if not named and not _signed_weights(model.graph):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _constants_as_initializers(made.graph)
    _unsigned_weights(made.graph)
    return made


def _constants_as_initializers(graph: onnx.GraphProto) -> None:
    """Constant nodes become initializers, the only constants the other rules look for."""
    for node in [n for n in graph.node if n.op_type == "Constant"]:
        if node.attribute and node.attribute[0].HasField("t"):
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.node.remove(node)


def _unsigned_weights(graph: onnx.GraphProto) -> None:
    """int8 weights of uint8 activations become uint8, as ``session.x64quantprecision`` does.

    ONNX Runtime leaves some out in mixed and in dynamic models; uint8 x int8 would saturate on
    hosts without VNNI. The differences to the zero point, and so the products, stay.
    """
    for node, weights, zero in _signed_weights(graph):
        place, zero_place, _ = _WEIGHT[node.op_type]
        inputs = [*node.input, *[""] * (zero_place + 1 - len(node.input))]
        for index, value in ((place, weights), (zero_place, zero)):
            moved = (value.astype(np.int16) + 128).astype(np.uint8)
            inputs[index] = _add(graph, f"{node.output[0]}/unsigned{index}", moved)
        node.input[:] = inputs


def _signed_weights(
    graph: onnx.GraphProto,
) -> list[tuple[onnx.NodeProto, NDArray[Any], NDArray[Any]]]:
    """Return nodes with uint8 activations, their int8 weights, and the weights' zero point."""
    constants, found = Constants(graph), []
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        place, zero_place, x_zero_place = _WEIGHT.get(node.op_type, (0, 0, 0))
        if not place or len(node.input) <= x_zero_place:
            continue
        if types.get(node.input[place]) != onnx.TensorProto.INT8:
            continue
        x_zero = constants.get(node.input[x_zero_place])
        static = node.op_type not in ("MatMulInteger", "ConvInteger")
        if static and (x_zero is None or x_zero.dtype != np.uint8):
            continue
        name = node.input[zero_place] if len(node.input) > zero_place else ""
        zero = constants.get(name, None if name else np.zeros((), np.int8))
        if zero is not None:
            found.append((node, constants[node.input[place]], zero))
    return found


def _add(graph: onnx.GraphProto, name: str, value: NDArray[Any]) -> str:
    name = Names(graph).fresh(name)
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    return name
