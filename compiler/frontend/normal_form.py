# SPDX-License-Identifier: Apache-2.0
"""A model as given, with everything said that ONNX lets a model leave out; no value changes.

ONNX Runtime mishandles some of what is left out, and the rules behind need not know the defaults.
What changes a rounding is apart, and noted.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from kiwicha.compiler.frontend.batch import graph_inputs
from kiwicha.compiler.frontend.names import Names
from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.frontend.session import Settings, open_session
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.frontend.weights import without_weights
from kiwicha.compiler.graph.graph import Note

__all__ = ["RANDOM", "folded", "make_explicit", "value_types", "with_additions"]

_ZERO_POINTS = {
    "QLinearAdd": ((0, 2), (3, 5), (0, 7)), "QLinearMul": ((0, 2), (3, 5), (0, 7)),
    "QLinearSigmoid": ((0, 2), (0, 4)), "QLinearLeakyRelu": ((0, 2), (0, 4)),
    "QLinearSoftmax": ((0, 2), (0, 4)), "QLinearAveragePool": ((0, 2), (0, 4)),
    "QLinearGlobalAveragePool": ((0, 2), (0, 4)), "DequantizeLinear": ((0, 2),),
}
"""Operators with zero points that may be left out: (an operand of that type, zero point); the scale
comes before the zero point."""
RANDOM = ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike", "Dropout")


def make_explicit(made: onnx.ModelProto) -> None:
    """Change the model in place: its constants out of its inputs, every zero point and every type
    of a CastLike written, and no dilations of 1 of averages, with which ONNX Runtime makes an
    invalid operator."""
    proper = graph_inputs(made.graph)
    if len(proper) < len(made.graph.input):
        kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in proper]
        del made.graph.input[:]
        made.graph.input.extend(kept)
    made.ir_version = max(made.ir_version, 4)  # before it, constants have to be inputs
    _write_zero_points(made)
    _write_types(made)
    for node in made.graph.node:
        for place, attribute in enumerate(node.attribute):
            dull = attribute.name == "dilations" and set(attribute.ints) == {1}
            if node.op_type == "AveragePool" and dull:
                del node.attribute[place]
                break


def _write_types(model: onnx.ModelProto) -> None:
    """CastLike becomes Cast, which is a constant where its operand is."""
    likes = [node for node in model.graph.node if node.op_type == "CastLike" and not node.domain]
    types = value_types(model, infer=True) if likes else {}
    for node in likes:
        if kind := types.get(node.input[1], 0):
            node.op_type = "Cast"
            del node.input[1]
            node.attribute.append(helper.make_attribute("to", kind))


def with_additions(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Note]]:
    """Return the model (itself if it has none) with Sum of two as Add, which ONNX Runtime knows
    for integers; and a note for each. It rounds once less: results may be one code apart."""
    notes: list[Note] = []
    if not any(_is_sum(node) for node in model.graph.node):
        return model, notes
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node in made.graph.node:
        if _is_sum(node):
            node.op_type = "Add" if len(node.input) == 2 else "Identity"
            if len(node.input) == 2:
                text = (
                    "lowered by kiwicha: Sum of two as Add, which ONNX Runtime leaves in float; at "
                    "most one code apart"
                )
                notes.append(Note(node_name(node), text))
    return made, notes


def _is_sum(node: onnx.NodeProto) -> bool:
    return node.op_type == "Sum" and node.domain in ("", "ai.onnx") and len(node.input) < 3


def value_types(model: onnx.ModelProto, infer: bool = False) -> dict[str, int]:
    """Return the element type of each value as far as ONNX can infer it (`TensorProto`), which it
    is asked to where a zero point needs it or ``infer`` is true."""
    found = graph = model.graph
    if infer or any(_defaulted(node) for node in graph.node):
        try:
            found = shape_inference.infer_shapes(without_weights(model)).graph
        except Exception:  # of no common base; ONNX Runtime will say what is wrong with the model
            found = graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*found.value_info, *found.input, *found.output)
    }
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _defaulted(node: onnx.NodeProto) -> bool:
    """Whether a zero point is left out whose type another value says."""
    places = [zero for _, zero in _ZERO_POINTS.get(node.op_type, ())]
    return any(place >= len(node.input) or not node.input[place] for place in places)


def _write_zero_points(model: onnx.ModelProto) -> None:
    graph = model.graph
    names = Names(graph)
    types = value_types(model)
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            shapes[node.output[0]] = list(node.attribute[0].t.dims)
            types[node.output[0]] = node.attribute[0].t.data_type

    def write(node: onnx.NodeProto, place: int, kind: int) -> None:
        scale = node.input[place - 1]
        if kind and scale in shapes:
            zero = helper.make_tensor(
                names.fresh(scale, "zero"), kind, shapes[scale], [0] * int(np.prod(shapes[scale]))
            )
            graph.initializer.append(zero)
            node.input.extend([""] * (place + 1 - len(node.input)))
            node.input[place] = zero.name

    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            given = next((a for a in node.attribute if a.name == "output_dtype"), None)
            kind = given.i if given is not None and given.i else TensorProto.UINT8
            if len(node.input) < 3 or not node.input[2]:
                write(node, 2, kind)
            if given is not None and len(node.input) > 2 and types.get(node.input[2], kind) == kind:
                node.attribute.remove(given)  # the zero point says it
        elif _defaulted(node):
            for operand, place in _ZERO_POINTS[node.op_type]:
                if place >= len(node.input) or not node.input[place]:
                    write(node, place, types.get(node.input[operand], 0))


def folded(model: onnx.ModelProto, settings: Settings) -> onnx.ModelProto:
    """Return the model (itself if there is nothing to do) with what depends on constants only
    computed by ONNX Runtime, which leaves such nodes where it writes out an operator's definition.
    Dequantized weights stay."""
    constants = {tensor.name for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}

    def can_be(node: onnx.NodeProto) -> bool:
        read = [name for name in node.input if name]
        if not read or not constants.issuperset(read) or outputs.intersection(node.output):
            return False
        return node.op_type not in ("DequantizeLinear", *RANDOM) and not any(
            attribute.HasField("g") or attribute.graphs for attribute in node.attribute
        )

    if not any(map(can_be, model.graph.node)):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _fold(made, settings, can_be, constants)
    return made


def _fold(
    model: onnx.ModelProto, settings: Settings, can_be: Callable[[onnx.NodeProto], bool],
    constants: set[str],
) -> None:
    graph = model.graph
    for node in list(graph.node):
        if not can_be(node):
            continue
        made = [name for name in node.output if name]
        try:
            values = [open_session(subgraph(model, {}, name), settings).run([name], {})[0]
                      for name in made]
        except Exception:  # of no common base; the node is refused where it is read
            continue
        graph.initializer.extend(map(numpy_helper.from_array, values, made))
        constants.update(made)
        graph.node.remove(node)
