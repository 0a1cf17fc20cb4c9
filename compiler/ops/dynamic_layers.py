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
from kiwicha.compiler.frontend.onnx_node import Unknown
from kiwicha.compiler.graph.graph import Tensor, Value
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import (
    CONSTANT,
    FINITE,
    OWN_SCALE,
    SCALE,
    SUMS,
    TENSOR,
    VALUE,
)
from kiwicha.compiler.ops.dynamic_average import average, average_of_real, average_window
from kiwicha.compiler.ops.dynamic_functions import clip_bounds, scaled_by
from kiwicha.compiler.ops.dynamic_gate import hard, multiply, normalize
from kiwicha.compiler.ops.dynamic_input import dynamic_input, slot_record
from kiwicha.compiler.ops.dynamic_last import is_last, refuse_rest
from kiwicha.compiler.ops.dynamic_linear import Linear
from kiwicha.compiler.ops.dynamic_moves import MOVES, move
from kiwicha.compiler.ops.dynamic_parts import slices, slope_of
from kiwicha.compiler.ops.dynamic_products import convolution, product
from kiwicha.compiler.ops.dynamic_real import Reals
from kiwicha.compiler.ops.dynamic_static import fixed, scaled
from kiwicha.compiler.ops.pool import pool_window
from kiwicha.compiler.ops.view import VIEWS, view_of

__all__ = ["DynamicLayers"]

Rule = Callable[[onnx.NodeProto], None]
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

    def __post_init__(self) -> None:
        self.reals = Reals(self.context, self.records, self.linear)

    def take(self, node: onnx.NodeProto) -> bool:
        """Read a node; return whether it is one of a dynamically quantized layer.

        Raises
        ------
        Refusal, Unknown
            As the rules of all other operators.
        """
        rules: dict[str, Rule] = {
            "DynamicQuantizeLinear": self._quantize,
            "MatMulInteger": self._multiplied,
            "ConvInteger": self._convolved,
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
        if any(name in self.reals.made and name not in self.linear for name in node.input):
            return self._take_real(node)
        if not any(name in self.linear for name in node.input):
            return False
        rest = {
            "Mul": self._multiply, "Add": self._add, "Relu": self._relu, "MaxPool": self._pool,
            "QuantizeLinear": self._fixed, "AveragePool": self._average,
            "GlobalAveragePool": self._average, "LeakyRelu": self._slope, "PRelu": self._slope,
            "Concat": self.reals.concat, "Slice": self._slice, "Split": self._slice,
            "Clip": self._clip, "HardSigmoid": self._by(hard), "HardSwish": self._by(hard),
            "BatchNormalization": self._by(normalize),
            **dict.fromkeys(VIEWS, self._view), **dict.fromkeys(MOVES, self._move),
        }
        if self._is_last(node):
            return True
        self._require(node, node.op_type in rest)
        rest[node.op_type](node)
        return True

    def _take_real(self, node: onnx.NodeProto) -> bool:
        """Read a node of a value that is in memory."""
        rest = {
            "Add": self.reals.add, "Relu": self.reals.relu, "Concat": self.reals.concat,
            "Mul": self._by(multiply),
            "MaxPool": self.reals.pool, "AveragePool": self._average,
            "GlobalAveragePool": self._average, "Clip": self.reals.clip,
            "BatchNormalization": self._by(normalize),
            **dict.fromkeys(VIEWS, self.reals.view), **dict.fromkeys(MOVES, self._move),
        }
        if self.reals.is_last(node, node.op_type in rest):
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
        if self.reals.finish(name):
            return True
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
        if not known:
            name = next(n for n in node.input if n in self.linear or n in self.reals.made)
            floats = name not in self.linear or self.linear[name].w_scale is not None
            refuse_rest(self.context, node, name if floats else "")

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
        if self.reals.shared(source):
            self.reals.get(node, source)
        if source in self.reals.made:
            record = slot_record(context.names.fresh(name, "slots"))
            self.reals.quantized(node, self.reals.made[source], name, record)
        elif source in self.linear:
            linear = self.linear[source]
            SUMS.check(scaled=linear.w_scale is not None)
            record = slot_record(context.names.fresh(name, "slots"))
            linear.quantized(context, self.records[linear.source], name, record)
        elif source in context.floats:
            if isinstance(context.floats[source].origin, Tensor):
                record = scaled(context, node)
            else:
                record = dynamic_input(context, node, context.floats[source], name).record
                context.free.add(name)
        else:
            CONSTANT.check(name=source, constants=context.constants)
            raise Unknown
        self.records[name] = record
        self.scales[scale], self.zeros[zero] = name, name

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
        if linear.w_scale is not None:
            if not self._constant(node, linear, other):
                self._by(multiply)(node)
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
        if bias is None and linear.w_scale is not None:
            self.reals.add(node)
            return
        early = linear.w_scale is None or linear.bias is not None or linear.relu
        early = early or linear.computed
        constant = bias is not None and bias.dtype == np.float32
        early = early or linear.second is not None
        if early and self._constant(node, linear, other):
            return
        self._require(node, constant and not early and linear.plain)
        assert bias is not None
        FINITE.check(what="bias", name=other, value=bias)
        columns = linear.per_column(bias, "bias")
        self.linear[node.output[0]] = replace(linear, bias=columns, op=f"{linear.op}, Add")

    def _constant(self, node: onnx.NodeProto, linear: Linear, other: str) -> bool:
        """Read the sum or product of a layer's values and a constant, if it can be done."""
        constant = self.context.constants.get(other)
        made = None if constant is None else scaled_by(linear, node, constant)
        if made is not None:
            self.linear[node.output[0]] = made
        return made is not None

    def _relu(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        self._require(node, linear.w_scale is not None)
        self.linear[node.output[0]] = replace(linear, relu=True, op=f"{linear.op}, Relu")

    def _clip(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        self._require(node, linear.w_scale is not None and linear.second is None)
        bounds = clip_bounds(self.context, node)
        self.linear[node.output[0]] = linear.clipped(*bounds)

    def _by(self, rule: Callable[[Reals, onnx.NodeProto], bool]) -> Rule:
        """Return a rule that refuses what ``rule`` does not take."""
        return lambda node: self._require(node, rule(self.reals, node))

    def _fixed(self, node: onnx.NodeProto) -> None:
        """The floats of a layer quantized by a scale that is known."""
        linear = self.linear[node.input[0]]
        fits = linear.w_scale is not None and linear.second is None and linear.addend is None
        self._require(node, fits)
        fixed(self.context, self.records[linear.source], node, linear)

    def _slope(self, node: onnx.NodeProto) -> None:
        """LeakyRelu or PRelu: negative values are multiplied."""
        linear, slope = self.linear[node.input[0]], slope_of(self.context, node)
        fits = linear.w_scale is not None and linear.plain and linear.second is None
        fits = fits and not linear.relu and not linear.computed
        self._require(node, fits and slope is not None)
        assert slope is not None
        FINITE.check(what="slope", name=node.input[-1], value=slope)
        columns = linear.per_column(slope, "slope")
        self.linear[node.output[0]] = replace(
            linear, slope=columns, op=f"{linear.op}, {node.op_type}"
        )

    def _slice(self, node: onnx.NodeProto) -> None:
        """Some columns of a layer are a layer of its own."""
        linear = self.linear[node.input[0]]
        fits = linear.w_scale is not None and linear.plain and linear.second is None
        self._require(node, fits and linear.addend is None)
        self.linear.update(slices(self.context, node, linear))

    def _multiplied(self, node: onnx.NodeProto) -> None:
        self.linear[node.output[0]] = product(self.context, self.records, self.zeros, node)

    def _convolved(self, node: onnx.NodeProto) -> None:
        self.linear[node.output[0]] = convolution(self.context, self.records, self.zeros, node)

    def _pool(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        scaled = linear.w_scale is not None and linear.frame is not None and linear.plain
        self._require(node, scaled)
        frame = pool_window(node, linear.shape)
        self.linear[node.output[0]] = replace(
            linear, pool=(node, frame), shape=(*linear.shape[:2], *frame.output)
        )

    def _average(self, node: onnx.NodeProto) -> None:
        name = node.input[0]
        if name in self.reals.made or self.reals.shared(name):
            real = self.reals.get(node, name)
            made = average_of_real(self.context, self.records, node, self.reals, real)
            self._require(node, made is not None)
            assert made is not None
            self.linear[node.output[0]] = made
            return
        linear = self.linear[name]
        frame = average_window(node, linear)
        self._require(node, frame is not None)
        assert frame is not None
        self.linear[node.output[0]] = average(self.context, self.records, node, linear, frame)

    def _move(self, node: onnx.NodeProto) -> None:
        move(self.reals, node)

    def _view(self, node: onnx.NodeProto) -> None:
        linear = self.linear[node.input[0]]
        step, shape = view_of(self.context, node, linear.shape)
        self.linear[node.output[0]] = replace(
            linear, shape=shape, views=(*linear.views, (node, step))
        )
