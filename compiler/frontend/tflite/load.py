# SPDX-License-Identifier: Apache-2.0
"""Reads TFLite files: LiteRT verifies the bytes, then its generated classes take them apart."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kiwicha.compiler.frontend.tflite.model import DOMAIN, TfliteFile, TfliteTensor
from kiwicha.compiler.frontend.tflite.runtime import interpreter, names_in, schema
from kiwicha.errors import ModelError, first_line

__all__ = ["SUFFIX", "load_tflite", "read_tflite"]

SUFFIX = ".tflite"
_BATCH = "batch"
_TYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name)
    for name in ("int8", "uint8", "int16", "int32", "int64", "float16", "float32", "bool")
}
_WORDS = {"fusedActivationFunction": "ActivationFunctionType", "padding": "Padding"}
"""Options that are values of an enumeration."""


def load_tflite(path: str | Path) -> TfliteFile:
    """Read a file.

    Raises
    ------
    ModelError
        Not found, truncated, no TFLite model, more than one graph, data outside the file; or the
        extra is missing.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    return read_tflite(content, str(path))


def read_tflite(content: bytes, name: str) -> TfliteFile:
    """Read the bytes of a file; errors, as of `load_tflite`, begin with ``name``."""
    _verify(content, name)
    try:
        return _read(content, name)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        # An index of the file's points nowhere, which LiteRT's verifier does not look at.
        raise ModelError(f"{name}: not a valid TFLite model: {first_line(error)}") from None


def _read(content: bytes, name: str) -> TfliteFile:
    classes = schema()
    model = classes.ModelT.InitFromObj(classes.Model.GetRootAsModel(content, 0))
    if len(model.subgraphs or ()) != 1:
        raise ModelError(f"{name}: {len(model.subgraphs or ())} subgraphs; must have one")
    graph = model.subgraphs[0]
    if not len(graph.operators or ()):
        raise ModelError(f"{name}: has no operator")
    names = _names(graph.tensors)
    tensors, constants = {}, []
    for tensor, own in zip(graph.tensors, names, strict=True):
        described, values = _tensor(tensor, own, model.buffers[tensor.buffer], name)
        tensors[own] = described
        if values is not None:
            constants.append(numpy_helper.from_array(values, own))
    operators = [_operator(model, operator, names) for operator in graph.operators]
    for place, operator in enumerate(operators):
        if not operator.output or not all(operator.output):
            raise ModelError(f"{name}: operator {place} ({operator.op_type}) makes no tensor")
    proto = helper.make_model(
        helper.make_graph(
            operators, "tflite",
            [_value(tensors[names[index]]) for index in graph.inputs],
            [_value(tensors[names[index]]) for index in graph.outputs],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", 1), helper.make_opsetid(DOMAIN, 1)],
    )
    return TfliteFile(content, proto, tensors)


def _verify(content: bytes, name: str) -> None:
    """Have LiteRT check that the bytes are a model: every offset, version and identifier."""
    litert = interpreter()
    try:
        litert.Interpreter(
            model_content=content or b"\0",
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        )
    except (ValueError, RuntimeError) as error:
        text = first_line(error)
        if "Flatbuffer" in text or "schema version" in text:
            raise ModelError(f"{name}: not a TFLite model, or truncated ({text})") from None
        # Operators that LiteRT has not are refused one by one later.


def _names(tensors: Any) -> list[str]:
    """Return a name for each tensor; the file's may be missing, or be there twice."""
    taken, names = set[str](), []
    for index, tensor in enumerate(tensors):
        plain = (tensor.name or b"").decode(errors="replace") or f"tensor{index}"
        name = plain if plain not in taken else f"{plain}/{index}"
        while name in taken:
            name += "'"
        taken.add(name)
        names.append(name)
    return names


def _tensor(tensor: Any, own: str, buffer: Any, name: str) -> tuple[TfliteTensor, Any]:
    """Return what a tensor is, and its values where they are in the file."""
    kind = names_in(schema().TensorType).get(tensor.type, f"type {tensor.type}").lower()
    shape = tuple(int(d) for d in (() if tensor.shape is None else tensor.shape))
    signature = () if tensor.shapeSignature is None else tuple(tensor.shapeSignature)
    quantization = tensor.quantization
    scale = np.asarray((), np.float32)
    zero = np.asarray((), np.int64)
    axis = 0
    if quantization is not None and quantization.scale is not None:
        scale = np.asarray(quantization.scale, np.float32)
        zero = np.zeros(scale.shape, np.int64)
        if quantization.zeroPoint is not None and len(quantization.zeroPoint):
            zero = np.asarray(quantization.zeroPoint, np.int64)
        axis = int(quantization.quantizedDimension)
    if getattr(buffer, "offset", 0) > 1:
        raise ModelError(f"{name}: tensor '{own}' has its data outside the flatbuffer")
    values = None
    constant = buffer.data is not None and len(buffer.data) > 0
    if constant and kind in _TYPES and tensor.sparsity is None:
        dtype, data = _TYPES[kind], np.asarray(buffer.data, np.uint8).tobytes()
        if len(data) != dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
            raise ModelError(
                f"{name}: tensor '{own}' has {len(data)} bytes; {kind} {shape} takes another number"
            )
        values = np.frombuffer(data, dtype).reshape(shape)
    batched = bool(signature) and signature[0] == -1
    return TfliteTensor(own, shape, kind, scale, zero, axis, constant, batched), values


def _operator(model: Any, operator: Any, names: list[str]) -> onnx.NodeProto:
    classes = schema()
    code = model.operatorCodes[operator.opcodeIndex]
    known = names_in(classes.BuiltinOperator)
    number = max(code.builtinCode, code.deprecatedBuiltinCode)  # of before and after code 127
    kind = known.get(number, f"operator {number}")
    if kind == "CUSTOM":
        kind = f"CUSTOM '{(code.customCode or b'').decode(errors='replace')}'"
    options = {} if operator.builtinOptions is None else vars(operator.builtinOptions)
    given = {key: _option(key, value) for key, value in options.items()}

    def named(indices: Any) -> list[str]:
        return ["" if index < 0 else names[index] for index in (() if indices is None else indices)]

    outputs = named(operator.outputs)
    return helper.make_node(
        kind, named(operator.inputs), outputs, name=next(filter(None, outputs), ""), domain=DOMAIN,
        **{key: value for key, value in given.items() if value is not None},
    )


def _option(key: str, value: Any) -> Any:
    """Return an option as an attribute can have it, None for what none can."""
    if key in _WORDS:
        return names_in(getattr(schema(), _WORDS[key])).get(value, str(value))
    if isinstance(value, bool | int | float | np.integer | np.floating):
        return int(value) if isinstance(value, bool | np.bool_) else value
    if isinstance(value, np.ndarray | list) and len(value):
        return [int(each) for each in value]
    return None


def _value(tensor: TfliteTensor) -> onnx.ValueInfoProto:
    """Return a graph input or output; a type that the machine has not, is refused later."""
    shape: list[int | str] = list(tensor.shape)
    if tensor.batched:
        shape[0] = _BATCH
    dtype = _TYPES.get(tensor.kind)
    kind = 0 if dtype is None else helper.np_dtype_to_tensor_dtype(dtype)
    return helper.make_tensor_value_info(tensor.name, kind, shape)
