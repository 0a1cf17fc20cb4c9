# SPDX-License-Identifier: Apache-2.0
"""The layers of a graph that is quantized dynamically, read node by node.

DynamicQuantizeLinear gives a tensor, its scale and its zero point; MatMulInteger and ConvInteger
multiply it by constant weights; Cast, Mul by both scales, Add and Relu make floats of the sums.
Nothing becomes a node before somebody needs the floats: the next DynamicQuantizeLinear, or a graph
output.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import FLOAT32
from kiwicha.compiler.frontend.onnx_node import Unknown, attributes, node_name
from kiwicha.compiler.graph.graph import DynamicScaleNode, PoolNode, Tensor, Value
from kiwicha.compiler.ops.chain import chain_table, chain_values, dequantized, emit_chain
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.conv import conv_shape
from kiwicha.compiler.ops.dynamic import (
    BETWEEN,
    CONSTANT,
    FINITE,
    OWN_SCALE,
    OWN_ZERO,
    PAIR,
    REST,
    RIGHT,
    SCALE,
    SHAPES,
    SUMS,
    TENSOR,
    VALUE,
)
from kiwicha.compiler.ops.dynamic_average import average, average_window
from kiwicha.compiler.ops.dynamic_input import dynamic_input, slot_record
from kiwicha.compiler.ops.dynamic_last import is_last
from kiwicha.compiler.ops.dynamic_linear import Linear
from kiwicha.compiler.ops.pool import pool_window
from kiwicha.compiler.ops.view import VIEWS, view_of
from kiwicha.compiler.ops.weights import per_channel, signed_weights
from kiwicha.compiler.ops.window import window

__all__ = ["DynamicLayers"]

_UINT8 = np.dtype(np.uint8)
_TAKEN = ("Add", "Mul", "Relu")
"""Operators that become a part of a layer before they are the host's."""


@dataclass
class DynamicLayers:
    """What the values of a dynamically quantized model have become.

    Members
    -------
    scales, zeros : names of scales and zero points, and of the tensors they belong to.
    products : products of a tensor's scale and a constant one.
    pairs : those of two tensors' scales.
    records : for each tensor the one that holds its scale.
    linear : values that a linear layer makes.
    """

    context: Context
    scales: dict[str, str] = field(default_factory=dict)
    zeros: dict[str, str] = field(default_factory=dict)
    products: dict[str, tuple[str, NDArray[np.float32]]] = field(default_factory=dict)
    pairs: dict[str, set[str]] = field(default_factory=dict)
    records: dict[str, Tensor] = field(default_factory=dict)
    linear: dict[str, Linear] = field(default_factory=dict)

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
            "ConvInteger": self._convolve,
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
        rest = {
            "Mul": self._multiply, "Add": self._add, "Relu": self._relu, "MaxPool": self._pool,
            "QuantizeLinear": self._fixed, "AveragePool": self._average,
            "GlobalAveragePool": self._average,
        }
        rest |= dict.fromkeys(VIEWS, self._view)
        if self._is_last(node):
            return True
        self._require(node, node.op_type in rest)
        rest[node.op_type](node)
        return True

    def assume(self, node: onnx.NodeProto) -> None:
        """Take a DynamicQuantizeLinear whose input nobody knows for one of something."""
        if node.op_type == "DynamicQuantizeLinear" and node.output[0] in self.context.tensors:
            name, scale, zero = node.output
            self.records[name] = slot_record(self.context.names.fresh(name, "slots"))
            self.scales[scale], self.zeros[zero] = name, name

    def finish(self, output: Value) -> bool:
        """Give a float graph output its sums and their host edge; False if it is no such output."""
        name = output.name
        TENSOR.check(scale=name in self.scales or name in self.zeros or name in self.products)
        if name not in self.linear:
            return False
        linear = self.linear[name]
        VALUE.check(scaled=linear.w_scale is not None or not linear.cast)
        if linear.pool is not None:
            self._require(linear.pool[0], False)
        linear.summed(self.context, self.records.get(linear.source), name)
        return True

    def _require(self, node: onnx.NodeProto, known: bool) -> None:
        """Refuse a node that may not follow in this place, unless ``known``."""
        if known:
            return
        name = next(name for name in node.input if name in self.linear)
        last = node.output[0] in {value.name for value in self.context.model.graph.output}
        way = "use quantize_static or --host-fallback"
        if last and self.linear[name].w_scale is not None:
            way = f"let the model end at '{name}' and compute {node.op_type} of that, or {way}"
        REST.check(following=node.op_type, way=way, known=known)

    def _is_last(self, node: onnx.NodeProto) -> bool:
        """Leave a node in front of a graph output to the host, if it is one for it."""
        name = next(name for name in node.input if name in self.linear)
        linear = self.linear[name]
        early = linear.w_scale is None or linear.pool is not None or node.op_type in _TAKEN
        if (early and not linear.last) or not is_last(self.context, node, len(linear.shape)):
            return False
        self.linear[node.output[0]] = replace(linear, last=linear.last or name)
        return True

    def _quantize(self, node: onnx.NodeProto) -> None:
        context, source = self.context, node.input[0]
        name, scale, zero = node.output
        if source in context.unknown:
            raise Unknown
        if source in self.linear:
            linear = self.linear[source]
            SUMS.check(scaled=linear.w_scale is not None)
            record = slot_record(context.names.fresh(name, "slots"))
            linear.quantized(context, self.records[linear.source], name, record)
        elif source in context.floats:
            if isinstance(context.floats[source].origin, Tensor):
                record = self._scaled(node)
            else:
                record = dynamic_input(context, node, context.floats[source], name).record
                context.free.add(name)
        else:
            CONSTANT.check(name=source, constants=context.constants)
            raise Unknown
        self.records[name] = record
        self.scales[scale], self.zeros[zero] = name, name

    def _scaled(self, node: onnx.NodeProto) -> Tensor:
        """A tensor with a scale of its own, and Relu, pools and views of it, quantized by range."""
        context, (name, _, _) = self.context, node.output
        value = context.floats[node.input[0]]
        x, operations = value.origin, value.operations
        assert isinstance(x, Tensor)
        target = replace(x, name=context.names.fresh(name, "static"), shape=value.shape)
        known = {op.kind for op in operations} <= {"clip", "view", "pool"}
        done = operations[-1].node.op_type if operations else ""
        BETWEEN.check(done=done, same=known)
        codes = chain_table(x, operations, target)
        same = np.array_equal(dequantized(target, codes), chain_values(x, operations))
        BETWEEN.check(done=done, same=same)
        x = emit_chain(context, node, x, operations, target) if operations else context.settled(x)
        y = Tensor(name, x.shape, _UINT8, np.float32(1), 0, x.layout)
        record = slot_record(context.names.fresh(name, "slots"))
        context.emit(DynamicScaleNode(node_name(node), node.op_type, x, y, record))
        return record

    def _fixed(self, node: onnx.NodeProto) -> None:
        """The floats of a layer quantized by a scale that is known."""
        linear = self.linear[node.input[0]]
        self._require(node, linear.w_scale is not None and linear.second is None)
        context, name = self.context, node.output[0]
        scale, zero, dtype = context.quantization(node, 1, "output")
        record = self.records[linear.source]
        if dtype == _UINT8:
            linear.quantized(context, record, name, None, scale, zero)
            return
        codes = context.names.fresh(name, "unsigned")  # VECTOR quantizes floats to these alone
        linear.quantized(context, record, codes, None, scale, zero + 128)
        x = context.tensors[codes]
        y = replace(x, name=name, dtype=dtype, zero_point=zero)
        context.emit(PoolNode(
            node_name(node), "QuantizeLinear", x, y, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1),
            np.float32(1), np.float64(1), -128, 127,
        ))

    def _scale(self, node: onnx.NodeProto) -> None:
        """The product of an input's scale and the weights'; either may be the first."""
        first, second = node.input
        scale, other = (first, second) if first in self.scales else (second, first)
        if other in self.scales:
            self.pairs[node.output[0]] = {self.scales[scale], self.scales[other]}
            return
        SCALE.check(name=other, constants=self.context.constants)
        constant = self.context.constants[other]
        FLOAT32.check(what=f"weight scale '{other}'", dtype=constant.dtype)
        FINITE.check(what="weight scale", name=other, value=constant)
        self.products[node.output[0]] = self.scales[scale], constant

    def _product(self, node: onnx.NodeProto) -> None:
        if {*node.input[:2]} <= self.records.keys():
            self._product_of_two(node)
            return
        x, weights, known = self._operands(node)
        SHAPES.check(name=x.name, x=x.shape, weights=weights.shape)
        codes, zero = self._codes(node, weights, weights.shape[1])
        shape = (*x.shape[:-1], weights.shape[1])
        self.linear[node.output[0]] = Linear(node, x.name, codes, zero, shape, shape, zero=known)

    def _product_of_two(self, node: onnx.NodeProto) -> None:
        """Both operands are quantized dynamically."""
        names, zeros = node.input[:2], [*node.input[2:4], "", ""][:2]
        for name, zero in zip(names, zeros, strict=True):
            OWN_ZERO.check(zero=zero, name=name, owner=self.zeros.get(zero))
        x, z = (self.context.tensors[name] for name in names)
        PAIR.check(x=x.shape, z=z.shape)
        lead = np.broadcast_shapes(x.shape[:-2], z.shape[:-2])
        shape = (*lead, x.shape[-2], z.shape[-1])
        nothing = np.zeros(0, np.int8), np.zeros(0, np.int16)
        self.linear[node.output[0]] = Linear(
            node, x.name, *nothing, shape, shape, second=(z.name, self.records[z.name])
        )

    def _convolve(self, node: onnx.NodeProto) -> None:
        x, weights, known = self._operands(node)
        shape, given = conv_shape(node, x.shape, weights.shape), attributes(node)
        codes, zero = self._codes(node, weights, weights.shape[0])
        self.linear[node.output[0]] = Linear(
            node, x.name, codes, zero, shape, shape, window(given, x.shape[2:], weights.shape[2:]),
            given.get("group", 1), known, op="ConvInteger",
        )

    def _operands(self, node: onnx.NodeProto) -> tuple[Tensor, NDArray[np.integer], int | None]:
        """Return the tensor and the constant that a layer multiplies, and the zero point of a
        tensor that has one of its own."""
        context, source = self.context, node.input[0]
        RIGHT.check(constant=source in context.constants)
        weights = context.constant(node, 1, "weight")
        name = node.input[2] if len(node.input) > 2 else ""
        if source in self.records:
            OWN_ZERO.check(zero=name, name=source, owner=self.zeros.get(name))
            return context.tensors[source], weights, None
        x = context.tensor(source)
        zero = context.zero(node, 2, "input zero point", x.dtype)
        context.one_scale(f"input '{source}'", zero, zero)
        return x, weights, int(zero[0])

    def _codes(
        self, node: onnx.NodeProto, weights: NDArray[np.integer], columns: int
    ) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        """Return weights and their zero points, one per column."""
        zero = np.zeros(1, weights.dtype)
        if len(node.input) > 3 and node.input[3]:
            zero = self.context.constant(node, 3, "weight zero point").reshape(-1)
        zero = per_channel(zero, columns, "weight zero point")
        codes, zero = signed_weights(weights, zero)
        return np.ascontiguousarray(codes), zero

    def _cast(self, node: onnx.NodeProto) -> None:
        if node.input[0] not in self.linear:
            raise Unknown
        to = next((a.i for a in node.attribute if a.name == "to"), 0)
        linear = self.linear[node.input[0]]
        known = to == onnx.TensorProto.FLOAT and linear.w_scale is None and linear.zero is None
        self._require(node, known)
        self.linear[node.output[0]] = replace(linear, cast=True)

    def _multiply(self, node: onnx.NodeProto) -> None:
        """The sums times both scales."""
        first, second = node.input
        name, other = (first, second) if first in self.linear else (second, first)
        linear = self.linear[name]
        if linear.second is not None:
            both = self.pairs.get(other) == {linear.source, linear.second[0]}
            self._require(node, both and linear.w_scale is None)
            ones = np.ones(linear.columns, np.float32)
            self.linear[node.output[0]] = replace(linear, w_scale=ones)
            return
        self._require(node, other in self.products and linear.w_scale is None)
        source, scale = self.products[other]
        OWN_SCALE.check(name=other, owner=source, source=linear.source)
        columns = linear.per_column(scale, "weight scale")
        self.linear[node.output[0]] = replace(linear, w_scale=columns)

    def _add(self, node: onnx.NodeProto) -> None:
        first, second = node.input
        name, other = (first, second) if first in self.linear else (second, first)
        linear, bias = self.linear[name], self.context.constants.get(other)
        early = linear.w_scale is None or linear.bias is not None or linear.relu
        constant = bias is not None and bias.dtype == np.float32
        early = early or linear.second is not None
        self._require(node, constant and not early and linear.plain)
        assert bias is not None
        FINITE.check(what="bias", name=other, value=bias)
        columns = linear.per_column(bias, "bias")
        self.linear[node.output[0]] = replace(linear, bias=columns, op=f"{linear.op}, Add")

    def _relu(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        self._require(node, linear.w_scale is not None)
        self.linear[node.output[0]] = replace(linear, relu=True, op=f"{linear.op}, Relu")

    def _pool(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        scaled = linear.w_scale is not None and linear.frame is not None and linear.plain
        self._require(node, scaled)
        frame = pool_window(node, linear.shape)
        self.linear[node.output[0]] = replace(
            linear, pool=(node, frame), shape=(*linear.shape[:2], *frame.output)
        )

    def _average(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        frame = average_window(node, linear)
        self._require(node, frame is not None)
        assert frame is not None
        self.linear[node.output[0]] = average(self.context, self.records, node, linear, frame)

    def _view(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        step, shape = view_of(self.context, node, linear.shape)
        self.linear[node.output[0]] = replace(
            linear, shape=shape, views=(*linear.views, (node, step))
        )
