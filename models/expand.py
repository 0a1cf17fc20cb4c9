# SPDX-License-Identifier: Apache-2.0
"""Attention and rotary embeddings written out, so that ``quantize_static`` can quantize what is
inside.

ONNX defines Attention (opset 23 and later) by a function of MatMul, Add, Softmax and shape
arithmetic. Between Q and DQ the operator itself is float inside. Written out and folded its parts
are operators that ONNX Runtime has in integers. Its mask is minus infinity, of which no scale can
be made, in other models the least float or -10000, beside which no score is left: here it is a
number that hides as well.
"""

import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, inliner, numpy_helper, shape_inference

__all__ = ["HIDDEN", "OPERATORS", "expanded"]

HIDDEN = -12.0
"""Added to a score in the place of minus infinity: e^-12 is a 600th of a code of 1/256."""
OPERATORS = ("Attention", "RotaryEmbedding")
"""Those that are defined by functions and float inside."""
_BEFORE = ("Add", "Cast", "Expand", "Identity", "Reshape", "Unsqueeze", "Where")


def expanded(
    model: onnx.ModelProto, operators: Collection[str] = OPERATORS, hidden: float = HIDDEN
) -> onnx.ModelProto:
    """Return a float model of fixed shapes with ``operators`` written out, ready to be quantized.

    Masks that are inputs of the model have to be finite. A row that the mask hides altogether sees
    all alike, where Attention gives zeros.

    Parameters
    ----------
    operators : op types of ONNX that are defined by functions; none, for the masks alone.
    hidden : what constant masks in front of a Softmax have at least, further below zero than the
        scores differ; the scores' scale has to reach that far, too.
    """
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    typed.graph.value_info.extend(  # the inliner looks for types there
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    typed = shape_inference.infer_shapes(typed, data_prop=True)
    functions = [("", name) for name in operators]
    made = inliner.inline_selected_functions(typed, functions, inline_schema_functions=True)
    made = _folded(_folded(made))  # casts of constants turn out to be such on the way
    masks = _masks(made.graph)
    for tensor in made.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name in masks and values.dtype == np.float32:
            finite = np.maximum(values, np.float32(hidden))
            tensor.CopyFrom(numpy_helper.from_array(finite, tensor.name))
    made = _folded(made)
    _pass_by(made)
    return made


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Have ONNX Runtime compute what depends on shapes and constants only."""
    with tempfile.TemporaryDirectory(prefix="kiwicha-") as directory:
        path = Path(directory) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.load(path)


def _masks(graph: onnx.GraphProto) -> set[str]:
    """Return what is added to, or chosen in the place of, what a Softmax reads."""
    makers = {name: node for node in graph.node for name in node.output}
    found = {node.input[0] for node in graph.node if node.op_type == "Softmax"}
    waiting = list(found)
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is not None and maker.op_type in _BEFORE:
            new = set(maker.input) - found
            found |= new
            waiting += new
    return found


def _pass_by(model: onnx.ModelProto) -> None:
    """Read past each Where whose condition never holds, since nothing is minus infinity, past each
    Add of zeros, and past what splits nothing off, or appends it."""
    graph = shape_inference.infer_shapes(model).graph
    shapes = {value.name: value.type.tensor_type.shape for value in (*graph.value_info,
                                                                     *graph.input, *graph.output)}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    never = {name for name, value in constants.items() if not value.any()}
    infinite = {
        name for name, value in constants.items()
        if value.dtype == np.float32 and np.isneginf(value).all()
    }
    same = dict[str, str]()
    empty = {
        name for name, shape in shapes.items()
        if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in shape.dim)
    }
    for node in model.graph.node:
        if node.op_type == "Concat" and empty.intersection(node.input):
            kept = [name for name in node.input if name not in empty]
            node.input[:] = kept or node.input[:1]
            if len(kept) == 1:
                same[node.output[0]] = same.get(kept[0], kept[0])
        rest = [name for name in node.output if name not in empty]
        if node.op_type == "Split" and len(rest) == 1:
            same[rest[0]] = same.get(node.input[0], node.input[0])
        if node.op_type == "Equal" and infinite.intersection(node.input):
            never.add(node.output[0])
        source = ""
        if node.op_type == "Where" and node.input[0] in never:
            source = node.input[2]
        elif node.op_type == "Add" and node.input[1] in never:
            source = node.input[0]
        if source and shapes.get(source) == shapes.get(node.output[0]) is not None:
            same[node.output[0]] = same.get(source, source)
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    read = {value.name for value in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if read.isdisjoint(node.output):
            model.graph.node.remove(node)
        else:
            read.update(node.input)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
