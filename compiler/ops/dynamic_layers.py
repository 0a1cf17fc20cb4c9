# SPDX-License-Identifier: Apache-2.0
"""The layers of a graph that is quantized dynamically, read node by node.

DynamicQuantizeLinear gives a tensor, its scale and its zero point; MatMulInteger multiplies it by
constant weights; Cast, Mul by both scales, Add and Relu make floats of the sums. Nothing becomes a
node before somebody needs the floats: the next DynamicQuantizeLinear, or a graph output.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import FLOAT32
from kiwicha.compiler.frontend.onnx_node import Unknown, node_name
from kiwicha.compiler.graph.dynamic_edges import (
    RECORD_BYTES,
    HostDynamicDequantize,
    HostDynamicQuantize,
)
from kiwicha.compiler.graph.graph import DynamicLinearNode, Shape, Tensor, Value
from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import (
    COLUMNS,
    CONSTANT,
    FINITE,
    INPUT,
    OWN_SCALE,
    OWN_ZERO,
    REST,
    RIGHT,
    SCALE,
    SHAPES,
    SUMS,
    TENSOR,
    VALUE,
    VIEW,
)
from kiwicha.compiler.ops.view import VIEWS, view_of
from kiwicha.compiler.ops.weights import per_channel, signed_weights

__all__ = ["DynamicLayers"]

_UINT8 = np.dtype(np.uint8)


def _record(name: str) -> Tensor:
    return Tensor(name, (RECORD_BYTES,), _UINT8, np.float32(1), 0)


@dataclass(frozen=True, eq=False)
class _Linear:
    """A linear layer as far as it was read: first the sums, then the floats that follow.

    Members
    -------
    source : the quantized input's name.
    scaled : whether the scales have been multiplied with.
    bias : one per column, or None.
    shape : of the value in the model.
    """

    node: onnx.NodeProto
    source: str
    weights: NDArray[np.int8]
    weight_zero: NDArray[np.int16]
    shape: Shape
    w_scale: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    relu: bool = False
    plain: bool = True  # no view: the last axis is that of the columns
    op: str = "MatMulInteger"


@dataclass
class DynamicLayers:
    """What the values of a dynamically quantized model have become.

    Members
    -------
    scales, zeros : names of scales and zero points, and of the tensors they belong to.
    products : products of a tensor's scale and a constant one.
    records : for each tensor the one that holds its scale.
    linear : values that a linear layer makes.
    inputs : graph inputs that the host quantizes.
    """

    context: Context
    scales: dict[str, str] = field(default_factory=dict)
    zeros: dict[str, str] = field(default_factory=dict)
    products: dict[str, tuple[str, NDArray[np.float32]]] = field(default_factory=dict)
    records: dict[str, Tensor] = field(default_factory=dict)
    linear: dict[str, _Linear] = field(default_factory=dict)
    inputs: list[HostDynamicQuantize] = field(default_factory=list)

    def take(self, node: onnx.NodeProto) -> bool:
        """Read a node; return whether it is one of a dynamically quantized layer.

        Raises
        ------
        Refusal, Unknown
            As the rules of all other operators.
        """
        rules: dict[str, Callable[[onnx.NodeProto], None]] = {
            "DynamicQuantizeLinear": self._quantize,
            "MatMulInteger": self._product,
            "Cast": self._cast,
        }
        if node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type in rules:
            rules[node.op_type](node)
            return True
        if node.op_type == "Mul" and any(name in self.scales for name in node.input):
            self._scale(node)
            return True
        if not any(name in self.linear for name in node.input):
            return False
        rest = {"Mul": self._multiply, "Add": self._add, "Relu": self._relu}
        rest |= dict.fromkeys(VIEWS, self._view)
        self._require(node, node.op_type in rest)
        rest[node.op_type](node)
        return True

    def assume(self, node: onnx.NodeProto) -> None:
        """Take a DynamicQuantizeLinear whose input nobody knows for one of something."""
        if node.op_type == "DynamicQuantizeLinear" and node.output[0] in self.context.tensors:
            name, scale, zero = node.output
            self.records[name] = _record(self.context.names.fresh(name, "slots"))
            self.scales[scale], self.zeros[zero] = name, name

    def finish(self, output: Value) -> bool:
        """Give a float graph output its sums and their host edge; False if it is no such output."""
        name = output.name
        TENSOR.check(scale=name in self.scales or name in self.zeros or name in self.products)
        if name not in self.linear:
            return False
        linear = self.linear[name]
        VALUE.check(scaled=linear.w_scale is not None)
        rows, columns = self._rows(linear), linear.weights.shape[1]
        sums = self.context.names.fresh(name, "sums")
        y = Tensor(sums, (rows, 4 * columns), _UINT8, np.float32(1), 0)
        node = self._emit(linear, y, None)
        self.context.dequantize.append(HostDynamicDequantize(
            self.context.names.fresh(name, "dequantize"), y, node.x_record, 0, name, node.w_scale,
            node.bias, linear.relu, linear.shape,
        ))
        return True

    def _require(self, node: onnx.NodeProto, known: bool) -> None:
        """Refuse a node that may not follow in this place, unless ``known``."""
        if known:
            return
        name = next(name for name in node.input if name in self.linear)
        last = node.output[0] in {value.name for value in self.context.model.graph.output}
        way = "use quantize_static"
        if last and self.linear[name].w_scale is not None:
            way = f"let the model end at '{name}' and compute {node.op_type} of that, or {way}"
        REST.check(following=node.op_type, way=way, known=known)

    def _quantize(self, node: onnx.NodeProto) -> None:
        context, source = self.context, node.input[0]
        name, scale, zero = node.output
        if source in context.unknown:
            raise Unknown
        if source in self.linear:
            linear = self.linear[source]
            SUMS.check(scaled=linear.w_scale is not None)
            tensor = Tensor(name, linear.shape, _UINT8, np.float32(1), 0)
            record = _record(context.names.fresh(name, "slots"))
            self._emit(linear, tensor, record)
        elif source in context.floats:
            tensor, record = self._input(node)
        else:
            CONSTANT.check(name=source, constants=context.constants)
            raise Unknown
        context.tensors[name], self.records[name] = tensor, record
        self.scales[scale], self.zeros[zero] = name, name

    def _input(self, node: onnx.NodeProto) -> tuple[Tensor, Tensor]:
        value = self.context.floats[node.input[0]]
        computed = any(op.kind != "view" for op in value.operations)
        INPUT.check(done=value.operations[-1].node.op_type if computed else "")
        tensor = Tensor(node.output[0], value.shape, _UINT8, np.float32(1), 0)
        if self.inputs:  # all share one record
            record = self.inputs[0].record
        else:
            record = _record(self.context.names.fresh("dynamic inputs", "slots"))
        steps = Layout(tuple(op.view for op in value.operations))
        source = cast(Value, value.origin).name
        self.inputs.append(
            HostDynamicQuantize(node_name(node), source, steps, tensor, record)
        )
        return tensor, record

    def _scale(self, node: onnx.NodeProto) -> None:
        """The product of an input's scale and the weights'; either may be the first."""
        first, second = node.input
        scale, other = (first, second) if first in self.scales else (second, first)
        SCALE.check(name=other, constants=self.context.constants)
        constant = self.context.constants[other]
        FLOAT32.check(what=f"weight scale '{other}'", dtype=constant.dtype)
        FINITE.check(what="weight scale", name=other, value=constant)
        self.products[node.output[0]] = self.scales[scale], constant

    def _product(self, node: onnx.NodeProto) -> None:
        context, source = self.context, node.input[0]
        RIGHT.check(constant=source in context.constants)
        weights = context.constant(node, 1, "weight")
        if source not in self.records:
            raise Unknown
        zero = node.input[2] if len(node.input) > 2 else ""
        OWN_ZERO.check(zero=zero, name=source, owner=self.zeros.get(zero))
        x = context.tensors[source]
        SHAPES.check(name=source, x=x.shape, weights=weights.shape)
        weight_zero = np.zeros(1, weights.dtype)
        if len(node.input) > 3 and node.input[3]:
            weight_zero = context.constant(node, 3, "weight zero point").reshape(-1)
        columns = weights.shape[1]
        signed, weight_zero = signed_weights(
            weights, per_channel(weight_zero, columns, "weight zero point")
        )
        self.linear[node.output[0]] = _Linear(
            node, source, np.ascontiguousarray(signed), weight_zero, (*x.shape[:-1], columns)
        )

    def _cast(self, node: onnx.NodeProto) -> None:
        if node.input[0] not in self.linear:
            raise Unknown
        to = next((a.i for a in node.attribute if a.name == "to"), 0)
        linear = self.linear[node.input[0]]
        self._require(node, to == onnx.TensorProto.FLOAT and linear.w_scale is None)
        self.linear[node.output[0]] = linear

    def _multiply(self, node: onnx.NodeProto) -> None:
        """The sums times both scales."""
        first, second = node.input
        name, other = (first, second) if first in self.linear else (second, first)
        linear = self.linear[name]
        self._require(node, other in self.products and linear.w_scale is None)
        source, scale = self.products[other]
        OWN_SCALE.check(name=other, owner=source, source=linear.source)
        columns = self._columns(linear, scale, "weight scale")
        self.linear[node.output[0]] = replace(linear, w_scale=columns)

    def _add(self, node: onnx.NodeProto) -> None:
        first, second = node.input
        name, other = (first, second) if first in self.linear else (second, first)
        linear, bias = self.linear[name], self.context.constants.get(other)
        early = linear.w_scale is None or linear.bias is not None or linear.relu
        constant = bias is not None and bias.dtype == np.float32
        self._require(node, constant and not early and linear.plain)
        assert bias is not None
        FINITE.check(what="bias", name=other, value=bias)
        columns = self._columns(linear, bias, "bias")
        self.linear[node.output[0]] = replace(linear, bias=columns, op=f"{linear.op}, Add")

    def _relu(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        self._require(node, linear.w_scale is not None)
        self.linear[node.output[0]] = replace(linear, relu=True, op=f"{linear.op}, Relu")

    def _view(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        (kind, _), shape = view_of(self.context, node, linear.shape)
        VIEW.check(kind=kind)
        plain = linear.plain and shape[-1:] == linear.shape[-1:]
        self.linear[node.output[0]] = replace(linear, shape=shape, plain=plain)

    def _columns(self, linear: _Linear, value: NDArray[Any], what: str) -> NDArray[np.float32]:
        """Return a float constant as one value per column."""
        columns = linear.weights.shape[1]
        COLUMNS.check(what=what, shape=value.shape, rank=len(linear.shape))
        flat = per_channel(value.reshape(-1), columns, what)
        return np.ascontiguousarray(flat.astype(np.float32))

    def _rows(self, linear: _Linear) -> int:
        return prod(self.context.tensors[linear.source].shape[:-1])

    def _emit(self, linear: _Linear, y: Tensor, record: Tensor | None) -> DynamicLinearNode:
        columns = linear.weights.shape[1]
        assert linear.w_scale is not None
        # Adding -0 changes nothing, not even a zero's sign.
        bias = np.full(columns, -0.0, np.float32) if linear.bias is None else linear.bias
        node = DynamicLinearNode(
            name=node_name(linear.node), op=linear.op, x=self.context.tensors[linear.source],
            x_record=self.records[linear.source], y=y, y_record=record, weights=linear.weights,
            weight_zero=linear.weight_zero, w_scale=linear.w_scale, bias=bias, relu=linear.relu,
        )
        self.context.emit(node)
        return node
