# SPDX-License-Identifier: Apache-2.0
"""Has ONNX Runtime lower a quantized model to integer operators.

ONNX Runtime at level EXTENDED turns Q/DQ graphs into ``QLinear*`` and ``QGemm`` and folds what can
be folded. The lowered model is what is compiled; the reference is taken from the model as given.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kiwicha.compiler.frontend.batch import batched_inputs, bind_batch, graph_inputs
from kiwicha.compiler.frontend.load import Constants
from kiwicha.compiler.frontend.normal_form import folded, make_explicit, with_additions
from kiwicha.compiler.frontend.quantization import DYNAMIC, STATIC, check_quantization
from kiwicha.compiler.frontend.rewrite import rewritten
from kiwicha.compiler.frontend.session import Settings, open_session
from kiwicha.compiler.frontend.unfused import unfused
from kiwicha.compiler.frontend.versions import as_runtime_reads, inlined
from kiwicha.compiler.graph.graph import Note, Value
from kiwicha.errors import InputError, ModelError, UnsupportedModel

__all__ = ["LoweredModel", "lower", "runtime_settings", "with_batch"]

_OUTPUT_ZERO = {"QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QGemm": 8}
_TYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.INT8: np.dtype(np.int8),
    onnx.TensorProto.UINT8: np.dtype(np.uint8),
}
_OUTPUTS = _TYPES | {
    onnx.TensorProto.BOOL: np.dtype(np.bool_),
    onnx.TensorProto.INT32: np.dtype(np.int32),
    onnx.TensorProto.INT64: np.dtype(np.int64),
}

@dataclass(frozen=True, eq=False)
class LoweredModel:
    """A model in integer operators.

    Members
    -------
    model : what is compiled: ``runtime`` after the rules of `compiler.frontend.rewrite`, itself
        where they change nothing.
    runtime : what ONNX Runtime wrote, none of our rules applied; its fusions of dynamically
        quantized layers written out.
    source : the model as given, batch bound, and with what it may leave out written down
        (`compiler.frontend.normal_form.make_explicit`), without which ONNX Runtime fails on some.
    settings : session configuration under which ``runtime`` was made and all of them have to be
        run.
    inputs, outputs : what the user gives and gets; an output's shape is still empty.
    dynamic : some of it is quantized dynamically. Where all is, ONNX Runtime's optimizations are
        left out of ``runtime``, else those of these layers.
    notes : rules of our own that were applied before ONNX Runtime lowered the model.
    refusals : (node, operator, reason) of nodes of ``source`` that cannot be mapped, whatever they
        become.
    """

    model: onnx.ModelProto
    runtime: onnx.ModelProto
    source: onnx.ModelProto
    settings: Settings
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    dynamic: bool = False
    notes: tuple[Note, ...] = ()
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
        The model is float, has other dynamic dimensions than the batch, is newer than ONNX Runtime,
        or refused by it.
    UnsupportedModel
        Nodes are quantized in a way that neither the machine nor ONNX Runtime takes.
    InputError
        The batch is not positive.
    """
    batched = batched_inputs(model.graph)
    source = with_batch(model, batch)
    inputs = tuple(_value(info, info.name in batched) for info in graph_inputs(source.graph))
    outputs = tuple(_value(info, types=_OUTPUTS) for info in source.graph.output)
    given, notes = with_additions(source)
    refusals = check_quantization(given)
    operators = {node.op_type for node in source.graph.node}
    static, dynamic = bool(operators & set(STATIC)), bool(operators & DYNAMIC)
    settings: Settings = ()
    if dynamic and not static:
        open_session(given, settings)
        runtime = given
    else:
        try:
            runtime, settings = _optimize(given, _DYNAMIC_FUSIONS if dynamic else ())
        except ModelError:
            if refusals:  # what ONNX Runtime does not take either
                raise UnsupportedModel(refusals) from None
            raise
    if dynamic:
        runtime = unfused(runtime)
    lowered = folded(runtime, settings) if static or not dynamic else runtime
    lowered = rewritten(lowered)
    return LoweredModel(
        lowered, runtime, source, settings, inputs, outputs, dynamic, tuple(notes), tuple(refusals)
    )


def with_batch(model: onnx.ModelProto, batch: int | None = None) -> onnx.ModelProto:
    """Return the model as `LoweredModel.source` has it; parameters and errors as of `lower`."""
    if batch is not None and batch < 1:
        raise InputError(f"the batch is {batch}; must be at least 1")
    model = as_runtime_reads(inlined(model))
    _check_quantized(model)
    source = onnx.ModelProto()
    source.CopyFrom(model)
    bind_batch(source.graph, 1 if batch is None else batch)
    make_explicit(source)
    return source


def runtime_settings(source: onnx.ModelProto) -> Settings:
    """Return the session configuration under which ONNX Runtime lowers a model, and is right."""
    operators = {node.op_type for node in source.graph.node}
    return _optimize(source, _DYNAMIC_FUSIONS if operators & DYNAMIC else ())[1]


# Without VNNI, uint8 x int8 products saturate in pairs. x64quantprecision makes int8 weights
# uint8, which avoids that; int8 activations must then stay int8, whose kernels are exact.
_DYNAMIC_FUSIONS = ("MatMulIntegerToFloatFusion", "DynamicQuantizeMatMulFusion")
_UNSIGNED: Settings = (("session.x64quantprecision", "1"),)
_SIGNED: Settings = (("session.x64quantprecision", "0"), ("session.qdqisint8allowed", "1"))


def _optimize(
    model: onnx.ModelProto, without: tuple[str, ...]
) -> tuple[onnx.ModelProto, Settings]:
    """Lower, ``without`` some optimizations, under the settings for the model's activation type,
    else under the others; where layers are quantized dynamically, which makes uint8, as uint8.

    The first fail where operators share a zero point or int8 and uint8 meet.
    """
    order = [_UNSIGNED, _SIGNED]
    if np.dtype(np.int8) in _activation_types(model) and not without:
        order.reverse()
    errors = []
    for settings in order:
        with tempfile.TemporaryDirectory(prefix="kiwicha-") as directory:
            path = Path(directory) / "lowered.onnx"
            try:
                open_session(model, settings, write=path, without=without)
                return onnx.load(path), settings
            except ModelError as error:
                errors.append(error)
    raise errors[0]


def _activation_types(model: onnx.ModelProto) -> set[np.dtype[Any]]:
    constants = Constants(model.graph)
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


def _value(
    info: onnx.ValueInfoProto, batched: bool = False, types: dict[int, np.dtype[Any]] = _TYPES
) -> Value:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not kind.elem_type:
        raise ModelError(f"'{info.name}' is not a tensor")
    dtype = types.get(kind.elem_type)
    if dtype is None:
        known = onnx.TensorProto.DataType.items()
        name = next((name.lower() for name, code in known if code == kind.elem_type), "unknown")
        legal = [dtype.name for dtype in types.values()]
        told = f"{', '.join(legal[:-1])} or {legal[-1]}"
        raise ModelError(f"'{info.name}' is {name}; must be {told}")
    return Value(info.name, tuple(dim.dim_value for dim in kind.shape.dim), dtype, batched)
