# SPDX-License-Identifier: Apache-2.0
"""Has ONNX Runtime lower a quantized model to integer operators.

ONNX Runtime at level EXTENDED turns Q/DQ graphs into ``QLinear*`` and ``QGemm`` and folds what can
be folded. The lowered model is what is compiled and what the reference is taken from.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from compiler.batch import batched_inputs, bind_batch, graph_inputs
from compiler.errors import InputError, ModelError, UnsupportedModel
from compiler.graph import Note, Value
from compiler.load import constants_of
from compiler.names import Names
from compiler.normal_form import explicit, fold_constants
from compiler.quantization import DYNAMIC, STATIC, check_quantization
from compiler.rewrite import rewrite
from compiler.session import Settings, open_session

__all__ = ["LoweredModel", "lower"]

_OUTPUT_ZERO = {"QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QGemm": 8}
_TYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.INT8: np.dtype(np.int8),
    onnx.TensorProto.UINT8: np.dtype(np.uint8),
}

@dataclass(frozen=True, eq=False)
class LoweredModel:
    """A model in integer operators.

    Members
    -------
    model : what ONNX Runtime wrote, after the rules of `compiler.rewrite`.
    source : the model as given, batch bound.
    settings : session configuration under which ``model`` was made and has to be run.
    inputs, outputs : what the user gives and gets; an output's shape is still empty.
    notes : rules of our own that were applied.
    dynamic : quantized dynamically. ONNX Runtime's optimizations are left out then, which change no
        bit of it; int8 weights are uint8.
    refusals : (node, operator, reason) of nodes of ``source`` that cannot be mapped, whatever they
        become.
    """

    model: onnx.ModelProto
    source: onnx.ModelProto
    settings: Settings
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    notes: tuple[Note, ...] = ()
    dynamic: bool = False
    refusals: tuple[tuple[str, str, str], ...] = ()


def lower(model: onnx.ModelProto, batch: int | None = None) -> LoweredModel:
    """Bind the batch and let ONNX Runtime lower the model.

    Parameters
    ----------
    batch : what a dynamic leading dimension of the inputs becomes, 1 if not given; a fixed one
        stays as it is.

    Raises
    ------
    ModelError
        The model is float, has other dynamic dimensions than the batch, or ONNX Runtime refuses
        it.
    UnsupportedModel
        Nodes are quantized in a way that neither the machine nor ONNX Runtime takes.
    InputError
        The batch is not positive.
    """
    if batch is not None and batch < 1:
        raise InputError(f"the batch is {batch}; must be at least 1")
    _check_quantized(model)
    source = onnx.ModelProto()
    source.CopyFrom(model)
    batched = batched_inputs(source.graph)
    bind_batch(source.graph, 1 if batch is None else batch)
    inputs = tuple(_value(info, info.name in batched) for info in graph_inputs(source.graph))
    outputs = tuple(_value(info) for info in source.graph.output)
    given, notes = explicit(source)
    refusals = check_quantization(given)
    operators = {node.op_type for node in model.graph.node}
    dynamic = not operators & set(STATIC) and bool(operators & DYNAMIC)
    settings: Settings = ()
    if dynamic:
        open_session(given, settings)
        lowered = given
        _unsigned_products(lowered.graph)
    else:
        try:
            lowered, settings = _optimize(given)
        except ModelError:
            if refusals:  # what ONNX Runtime does not take either
                raise UnsupportedModel(refusals) from None
            raise
        fold_constants(lowered, settings)
    with np.errstate(invalid="ignore"):  # a scale that is refused may be NaN
        notes += rewrite(lowered)
    return LoweredModel(
        lowered, source, settings, inputs, outputs, tuple(notes), dynamic, tuple(refusals)
    )


# Without VNNI, uint8 x int8 products saturate in pairs. x64quantprecision makes int8 weights
# uint8, which avoids that; int8 activations must then stay int8, whose kernels are exact.
_UNSIGNED: Settings = (("session.x64quantprecision", "1"),)
_SIGNED: Settings = (("session.x64quantprecision", "0"), ("session.qdqisint8allowed", "1"))


def _optimize(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Settings]:
    """Lower under the settings for the model's activation type, else under the others.

    The first fail where operators share a zero point or int8 and uint8 meet; `rewrite` makes what
    the others leave exact.
    """
    order = [_UNSIGNED, _SIGNED]
    if np.dtype(np.int8) in _activation_types(model):
        order.reverse()
    errors = []
    for settings in order:
        with tempfile.TemporaryDirectory(prefix="kiwicha-") as directory:
            path = Path(directory) / "lowered.onnx"
            try:
                open_session(model, settings, path)
                return onnx.load(path), settings
            except ModelError as error:
                errors.append(error)
    raise errors[0]


def _unsigned_products(graph: onnx.GraphProto) -> None:
    """int8 weights of MatMulInteger become uint8, for the same reason; the products stay."""
    constants, made_up = constants_of(graph), Names(graph)
    for node in graph.node:
        if node.op_type != "MatMulInteger" or len(node.input) < 3:
            continue
        weights = constants.get(node.input[1])
        zero = constants.get(node.input[3], None) if len(node.input) > 3 else np.zeros((), np.int8)
        if weights is None or zero is None or weights.dtype != np.int8:
            continue
        names = []
        for what, value in (("weight", weights), ("zero", zero)):
            names.append(made_up.fresh(node.output[0], what))
            moved = (value.astype(np.int16) + 128).astype(np.uint8)
            graph.initializer.append(numpy_helper.from_array(moved, names[-1]))
        node.input[:] = [node.input[0], names[0], node.input[2], names[1]]


def _activation_types(model: onnx.ModelProto) -> set[np.dtype[Any]]:
    constants = constants_of(model.graph)
    types = set()
    for node in model.graph.node:
        index = _OUTPUT_ZERO.get(node.op_type)
        if index is None or node.input[0] in constants:
            continue
        zero = constants.get(node.input[index]) if index < len(node.input) else None
        types.add(np.dtype(np.uint8) if zero is None else zero.dtype)
    return types


def _check_quantized(model: onnx.ModelProto) -> None:
    operators = {node.op_type for node in model.graph.node}
    floats = [
        value
        for value in (*graph_inputs(model.graph), *model.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    ]
    if floats and not operators & (set(STATIC) | DYNAMIC):
        raise ModelError(
            "the model is a float model; quantize it to int8 with "
            "onnxruntime.quantization.quantize_static"
        )


def _value(info: onnx.ValueInfoProto, batched: bool = False) -> Value:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not kind.elem_type:
        raise ModelError(f"'{info.name}' is not a tensor")
    dtype = _TYPES.get(kind.elem_type)
    if dtype is None:
        known = onnx.TensorProto.DataType.items()
        name = next((name.lower() for name, code in known if code == kind.elem_type), "unknown")
        raise ModelError(f"'{info.name}' is {name}; must be float32, int8 or uint8")
    return Value(info.name, tuple(dim.dim_value for dim in kind.shape.dim), dtype, batched)
