# SPDX-License-Identifier: Apache-2.0
"""The initial states of a recurrent layer: constants, codes, or float graph inputs.

The host quantizes a float state in the scale that the layer keeps it in, a cell state in slices as
`golden.recurrent` has them; what is further out than the layer's own states reach is cut off.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.graph.graph import HostQuantize, Shape, Tensor, Value
from kiwicha.compiler.graph.host_operators import HostFunction
from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.ops.context import Context, FloatValue
from kiwicha.compiler.ops.recurrent_scales import HALF, OFFSETS

__all__ = ["FirstState", "hosted", "on_host"]

_MOVES = {"view", "part", "clip", "pad", "host"}


@dataclass(frozen=True, eq=False)
class FirstState:
    """An initial state: a constant, directions x batch x hidden, codes of that shape, or a function
    of a graph input, whose name it is."""

    value: NDArray[np.float32] | Tensor | str

    @property
    def reach(self) -> float:
        """The greatest magnitude that it may have; 0 of a graph input, which is cut off."""
        if isinstance(self.value, str):
            return 0.0
        if isinstance(self.value, Tensor):
            info = np.iinfo(self.value.dtype)
            codes = np.array([info.min, info.max]) - self.value.zero_point
            return float(np.abs(codes).max() * self.value.scale)
        return float(np.abs(self.value).max(initial=0))


def hosted(value: FloatValue) -> bool:
    """Whether the host can make an initial state of a float value."""
    return isinstance(value.origin, Value) and {op.kind for op in value.operations} <= _MOVES


def on_host(
    context: Context, node: onnx.NodeProto, name: str, way: int, unit: np.float32, shape: Shape,
    *, slices: bool,
) -> Tensor:
    """Have the host quantize one direction of the float value ``name``.

    Parameters
    ----------
    shape : of the result: 1 x batch x hidden, or slices x batch x hidden.
    slices : of `golden.recurrent`, less an offset each.
    """
    source = context.floats[name].origin
    sources = {source.name: (source.dtype, len(source.shape))}
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, NDArray[Any]] = {}

    def add(operator: str, *given: str | NDArray[Any] | np.float32, **attributes: Any) -> str:
        read = []
        for value in given:
            if not isinstance(value, str):
                read.append(context.names.fresh(name, "constant"))
                constants[read[-1]] = np.asarray(value)
            else:
                read.append(value)
        made = context.names.fresh(name, operator)
        nodes.append(helper.make_node(operator, read, [made], **attributes))
        return made

    half = np.float32(HALF) * unit
    one = add("Gather", name, np.array([way]), axis=0)
    parts = []
    for offset in OFFSETS if slices else (0,):
        moved = add("Sub", one, np.float32(offset) * unit) if offset else one
        parts.append(add("Min", add("Max", moved, -half), half))
    last = add("Concat", *parts, axis=0)
    model = _extended(context, sources, name, nodes, constants, last)
    session = open_session(model, context.settings)

    def run(array: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(session.run([last], {source.name: array.astype(np.float32)})[0])

    operators = tuple(made.op_type for made in model.graph.node)
    tensor = Tensor(
        context.names.fresh(name, "slices" if slices else "codes"), shape, np.dtype(np.int8), unit,
        0,
    )
    context.quantize.append(HostQuantize(
        context.names.fresh(node_name(node), "first"), source.name, Layout(()), tensor,
        before=HostFunction(operators, model.SerializeToString(), run),
    ))
    context.tensors[tensor.name] = tensor
    return tensor


def _extended(
    context: Context, sources: Any, name: str, nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[Any]], last: str,
) -> onnx.ModelProto:
    """Return the model from a graph input to ``name``, and some nodes behind it."""
    if name in sources:
        kind, rank = sources[name]
        given = helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(kind), [None] * rank
        )
        made = helper.make_model(
            helper.make_graph([], "part", [given], []), ir_version=context.model.ir_version,
            opset_imports=context.model.opset_import,
        )
    else:
        made = subgraph(context.model, sources, name)
        del made.graph.output[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(
        numpy_helper.from_array(value, key) for key, value in constants.items()
    )
    made.graph.output.append(helper.make_empty_tensor_value_info(last))
    return made
