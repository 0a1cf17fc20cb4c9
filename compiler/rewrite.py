# SPDX-License-Identifier: Apache-2.0
"""Our own rules on the model that ONNX Runtime lowered, applied before the reference is taken.

ONNX Runtime leaves some operators in float between DequantizeLinear and QuantizeLinear, such as a
Gemm whose alpha is not 1. They become ``QLinear*`` here, the same way it does that itself; the
report says so, because float rounding is no longer what happens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from compiler.graph import Note
from compiler.load import constants_of
from compiler.names import Names
from compiler.operators.context import attributes, node_name

__all__ = ["rewrite"]

_WEIGHT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}


@dataclass(frozen=True)
class _Dequantized:
    """A DequantizeLinear as an operand: names of value, scale and zero point."""

    value: str
    scale: str
    zero: str
    axis: int


def rewrite(model: onnx.ModelProto) -> list[Note]:
    """Apply every rule in place; return what was done."""
    _fold_constants(model.graph)
    notes = _integer_operators(model)
    _unsigned_weights(model.graph)
    return notes


def _fold_constants(graph: onnx.GraphProto) -> None:
    """Constant nodes become initializers, the only constants the other rules look for."""
    for node in [n for n in graph.node if n.op_type == "Constant"]:
        if node.attribute and node.attribute[0].HasField("t"):
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.node.remove(node)


def _add(graph: onnx.GraphProto, name: str, value: NDArray[Any]) -> str:
    name = Names(graph).fresh(name)
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    return name


def _integer_operators(model: onnx.ModelProto) -> list[Note]:
    graph = model.graph
    notes = []
    for node in list(graph.node):
        if node.domain in ("", "ai.onnx") and node.op_type in ("Conv", "MatMul", "Gemm"):
            built = _integer_operator(graph, node)
            if built is None:
                continue
            new, follower = built
            place = list(graph.node).index(node)
            graph.node.remove(node)
            graph.node.remove(follower)
            graph.node.insert(place, new)
            text = f"lowered by kiwicha: {node.op_type}, which ONNX Runtime leaves in float"
            notes.append(Note(node_name(node), text))
    if notes:
        _drop_unread(graph)
        if not any(o.domain == "com.microsoft" for o in model.opset_import):
            model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return notes


def _integer_operator(
    graph: onnx.GraphProto, node: onnx.NodeProto
) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """Return the integer operator and the QuantizeLinear it replaces, or None if it cannot be."""
    constants = constants_of(graph)
    x, weight = (_dequantized(graph, name) for name in node.input[:2])
    readers = [n for n in graph.node if node.output[0] in n.input]
    outputs = {value.name for value in graph.output}
    if x is None or weight is None or weight.value not in constants or x.value in constants:
        return None
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear" or node.output[0] in outputs:
        return None
    follower = readers[0]
    y_scale, y_zero = (*follower.input[1:3], "")[:2]
    known = {x.scale, x.zero, weight.scale, weight.zero, y_scale, y_zero} - {""}
    if not known <= constants.keys():
        return None
    values, scale = constants[weight.value], constants[weight.scale]
    zero = constants.get(weight.zero, np.zeros((), values.dtype))
    unsigned = np.zeros((), np.uint8)
    dtype = constants.get(x.zero, unsigned).dtype
    axis = weight.axis + (values.ndim if weight.axis < 0 else 0)
    given = attributes(node)
    alpha = np.float32(given.get("alpha", 1.0))
    transposed = node.op_type == "Conv" or given.get("transB", 0)
    if {dtype, values.dtype} - {np.dtype(np.int8), np.dtype(np.uint8)} or not alpha > 0:
        return None
    if constants.get(y_zero, unsigned).dtype != dtype:
        return None
    if constants[x.scale].size != 1 or constants[y_scale].size != 1:
        return None
    if zero.size not in (1, scale.size):
        return None
    if scale.size > 1 and axis != (0 if transposed else values.ndim - 1):
        return None
    scale = (alpha * scale).astype(np.float32)
    codes = None
    if len(node.input) > 2 and node.input[2]:
        unit = constants[x.scale].astype(np.float64).reshape(-1) * scale.reshape(-1)
        codes = _bias_codes(graph, constants, node, unit)
        if codes is None:
            return None
    values, zero = _retyped(values, zero, dtype)
    prefix = f"{node_name(node)}/kiwicha"
    # The kernels want scale and zero point of one shape.
    zero = np.broadcast_to(zero.reshape(-1), (scale.size,))
    head = [
        x.value, x.scale, x.zero or _add(graph, f"{prefix}/input_zero", unsigned),
        _add(graph, f"{prefix}/weight", values),
        _add(graph, f"{prefix}/weight_scale", scale),
        _add(graph, f"{prefix}/weight_zero", zero.reshape(scale.shape)),
    ]  # fmt: skip
    bias = "" if codes is None else _add(graph, f"{prefix}/bias", codes)
    tail = [y_scale, y_zero or _add(graph, f"{prefix}/output_zero", unsigned)]
    return _assemble(node, head, bias, tail, follower.output[0]), follower


def _assemble(
    node: onnx.NodeProto, head: list[str], bias: str, tail: list[str], output: str
) -> onnx.NodeProto:
    """Return the integer counterpart of a float operator."""
    name, given = node_name(node), attributes(node)
    if node.op_type == "Gemm":
        return helper.make_node(
            "QGemm", [*head, bias, *tail], [output], name, domain="com.microsoft", alpha=1.0,
            transA=given.get("transA", 0), transB=given.get("transB", 0),
        )  # fmt: skip
    if node.op_type == "MatMul":
        return helper.make_node("QLinearMatMul", [*head, *tail], [output], name)
    inputs = [*head, *tail, *([bias] if bias else [])]
    new = helper.make_node("QLinearConv", inputs, [output], name)
    new.attribute.extend(node.attribute)
    return new


def _dequantized(graph: onnx.GraphProto, name: str) -> _Dequantized | None:
    for node in graph.node:
        if name in node.output and node.op_type == "DequantizeLinear":
            zero = node.input[2] if len(node.input) > 2 else ""
            return _Dequantized(
                node.input[0], node.input[1], zero, attributes(node).get("axis", 1)
            )
    return None


def _bias_codes(
    graph: onnx.GraphProto,
    constants: dict[str, NDArray[Any]],
    node: onnx.NodeProto,
    unit: NDArray[np.float64],
) -> NDArray[np.int32] | None:
    """Return the bias of ``node`` as int32 multiples of ``unit``, one for all or per channel."""
    name = node.input[2]
    source = _dequantized(graph, name)
    if name in constants:
        real = constants[name].astype(np.float64).reshape(-1)
    elif source is not None and {source.value, source.scale} <= constants.keys():
        codes, scale = constants[source.value].reshape(-1), constants[source.scale].reshape(-1)
        if scale.size not in (1, codes.size) or np.any(constants.get(source.zero, 0)):
            return None
        real = codes.astype(np.float64) * scale
    else:
        return None
    if unit.size not in (1, real.size):
        return None
    beta, limits = np.float64(attributes(node).get("beta", 1.0)), np.iinfo(np.int32)
    return np.clip(np.rint(real * beta / unit), limits.min, limits.max).astype(np.int32)


def _retyped(
    values: NDArray[Any], zero: NDArray[Any], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return weights and zero points in the other 8-bit type, the differences unchanged."""
    if values.dtype == dtype:
        return values, zero
    offset = 128 if dtype == np.uint8 else -128
    return tuple((a.astype(np.int16) + offset).astype(dtype) for a in (values, zero))  # type: ignore[return-value]


def _unsigned_weights(graph: onnx.GraphProto) -> None:
    """int8 weights of uint8 activations become uint8, as ``session.x64quantprecision`` does.

    ONNX Runtime leaves some out (mixed models, our own operators); uint8 x int8 would saturate on
    hosts without VNNI.
    """
    constants = constants_of(graph)
    for number, node in enumerate(graph.node):
        index = _WEIGHT.get(node.op_type)
        if index is None:
            continue
        x_zero, weights = constants.get(node.input[2]), constants.get(node.input[index])
        if x_zero is None or weights is None:
            continue
        if x_zero.dtype != np.uint8 or weights.dtype != np.int8:
            continue
        zero = constants[node.input[index + 2]]
        weights, zero = _retyped(weights, zero, np.dtype(np.uint8))
        node.input[index] = _add(graph, f"{node.input[index]}/unsigned{number}", weights)
        node.input[index + 2] = _add(graph, f"{node.input[index + 2]}/unsigned{number}", zero)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nobody reads."""
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {value.name for value in graph.output}
        dead = [node for node in graph.node if not read & set(node.output)]
        if not dead:
            return
        for node in dead:
            graph.node.remove(node)
