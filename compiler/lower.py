# SPDX-License-Identifier: Apache-2.0
"""Reads a quantized ONNX model and has ONNX Runtime lower it to integer operators.

ONNX Runtime at level EXTENDED turns Q/DQ graphs into ``QLinear*`` and ``QGemm`` and folds what can
be folded. The lowered model is what is compiled and what the reference is taken from.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from compiler.errors import ModelError, UnsupportedModel
from compiler.graph import Note, Value
from compiler.operators.context import Refusal, check_scale, node_name
from compiler.rewrite import rewrite

__all__ = ["LoweredModel", "load_model", "lower", "open_session", "runtime_message"]

MINIMUM_OPSET = 10
"""The first with QLinearConv, QLinearMatMul and QuantizeLinear."""

_SCALES = {
    "QuantizeLinear": (1,), "DequantizeLinear": (1,), "QLinearConv": (1, 4, 6),
    "QLinearMatMul": (1, 4, 6), "QGemm": (1, 4, 7), "QLinearAdd": (1, 4, 6),
    "QLinearMul": (1, 4, 6), "QLinearGlobalAveragePool": (1, 3), "QLinearAveragePool": (1, 3),
}  # fmt: skip
_OUTPUT_ZERO = {"QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QGemm": 8}
_DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger", "ConvInteger")


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
    """

    model: onnx.ModelProto
    source: onnx.ModelProto
    settings: tuple[tuple[str, str], ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    notes: tuple[Note, ...] = ()


def load_model(path: str | Path) -> onnx.ModelProto:
    """Read a model with its external data.

    Raises
    ------
    ModelError
        Not found, truncated, not ONNX, invalid, an operator set before 10, data missing.
    """
    path = Path(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    except (DecodeError, ValueError, TypeError, RuntimeError):
        raise ModelError(f"{path}: not an ONNX model, or truncated") from None
    if not model.graph.node or not model.ir_version or not model.opset_import:
        raise ModelError(f"{path}: not an ONNX model, or truncated (no graph or no operator set)")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is not None and opset < MINIMUM_OPSET:
        raise ModelError(
            f"{path}: operator set {opset}; the first with quantized operators is {MINIMUM_OPSET}"
        )
    _load_external(model, path)
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    for value in checked.graph.output:  # the checker wants a shape, ONNX Runtime infers it
        value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(checked)
    except Exception as error:  # the checker has no exception type of its own for all it finds
        raise ModelError(f"{path}: not a valid ONNX model: {_first_line(error)}") from None
    return model


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # ValueError, OSError or the checker's, by release
        missing = [
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location" and not (path.parent / entry.value).is_file()
        ]
        what = f"'{missing[0]}' is missing" if missing else _first_line(error)
        raise ModelError(f"{path}: external data: {what}") from None


def lower(model: onnx.ModelProto, batch: int | None = None) -> LoweredModel:
    """Bind the batch and let ONNX Runtime lower the model.

    Parameters
    ----------
    batch : what a dynamic leading dimension of the inputs becomes, 1 if not given; a fixed one
        stays as it is.

    Raises
    ------
    ModelError
        The model is float, quantized dynamically, has other dynamic dimensions, or ONNX Runtime
        refuses it.
    UnsupportedModel
        A scale is NaN, infinite, zero, negative or denormal; a line for each.
    """
    _check_quantized(model)
    _check_scales(model)
    source = onnx.ModelProto()
    source.CopyFrom(model)
    _bind_batch(source, 1 if batch is None else batch)
    inputs = tuple(_value(info) for info in _inputs(source.graph))
    outputs = tuple(_value(info) for info in source.graph.output)
    lowered, settings = _optimize(source)
    notes = rewrite(lowered)
    return LoweredModel(lowered, source, settings, inputs, outputs, tuple(notes))


def open_session(
    model: onnx.ModelProto, settings: Iterable[tuple[str, str]], optimized: Path | None = None
) -> onnxruntime.InferenceSession:
    """Open a model on the CPU: as it is, or optimized (EXTENDED) and written to ``optimized``.

    Raises
    ------
    ModelError
        With the first line of what ONNX Runtime says.
    """
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = levels.ORT_DISABLE_ALL
    if optimized is not None:
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimized)
    for key, value in settings:
        options.add_session_config_entry(key, value)
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exception classes share no public base
        raise ModelError(f"ONNX Runtime refuses the model: {runtime_message(error)}") from None


def runtime_message(error: Exception) -> str:
    """Return the first line of an ONNX Runtime error without its code."""
    return _first_line(error).split(" : ", 3)[-1]


Settings = tuple[tuple[str, str], ...]

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


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def _activation_types(model: onnx.ModelProto) -> set[np.dtype[Any]]:
    constants = _constants(model.graph)
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
    if operators & set(_SCALES):
        return
    how = "quantized dynamically" if operators & set(_DYNAMIC) else "a float model"
    raise ModelError(
        f"the model is {how}; quantize it to int8 with onnxruntime.quantization.quantize_static"
    )


def _check_scales(model: onnx.ModelProto) -> None:
    constants = _constants(model.graph)
    refusals = []
    for node in model.graph.node:
        for index in _SCALES.get(node.op_type, ()):
            name = node.input[index] if index < len(node.input) else ""
            value = constants.get(name)
            if value is None or value.dtype != np.float32:
                continue
            try:
                check_scale(value, f"scale '{name}'")
            except Refusal as refusal:
                refusals.append((node_name(node), node.op_type, str(refusal)))
    if refusals:
        raise UnsupportedModel(refusals)


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Inputs proper: models of old IR versions list the initializers too."""
    initializers = {i.name for i in graph.initializer}
    return [value for value in graph.input if value.name not in initializers]


def _bind_batch(model: onnx.ModelProto, batch: int) -> None:
    symbols = set()
    for value in _inputs(model.graph):
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            if place and dim.dim_param not in symbols:
                what = f"dimension {place} ('{dim.dim_param or '?'}')"
                raise ModelError(f"input '{value.name}': {what} is dynamic; only the batch may be")
            if dim.dim_param:
                symbols.add(dim.dim_param)
            dim.dim_value = batch
    for value in (*model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = batch
            elif dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.Clear()


def _value(info: onnx.ValueInfoProto) -> Value:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not kind.elem_type:
        raise ModelError(f"'{info.name}' is not a tensor")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if dtype not in (np.float32, np.int8, np.uint8):
        raise ModelError(f"'{info.name}' is {dtype}; must be float32, int8 or uint8")
    return Value(info.name, tuple(dim.dim_value for dim in kind.shape.dim), dtype)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
