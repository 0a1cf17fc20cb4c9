# SPDX-License-Identifier: Apache-2.0
"""LRN between DequantizeLinear and QuantizeLinear: squares by a table, their means over channels by
a convolution with a band matrix, and a product with a function of that."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import ConvNode, TableNode, TablesNode, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.chain import emit_chain
from kiwicha.compiler.ops.clip import clip_codes, leading_clips
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, LAST, QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.own_scale import in_codes
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.pair_tables import factor_tables

__all__ = ["OPERATORS"]

_BIAS = Limit("bias is {bias}; must be positive", lambda bias: bias > 0)


def local_response_normalization(context: Context, node: onnx.NodeProto) -> None:
    """Input x; nothing is emitted before its QuantizeLinear."""
    value = in_codes(context, node, node.input[0])
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    FIRST.check(done=value.operations[-1].node.op_type if value.operations else "")
    _BIAS.check(bias=_parameters(node)[2])
    done = FloatOp("average", node, value.shape, finish=_finish)
    context.floats[node.output[0]] = FloatValue(value.origin, (done,))


def _parameters(node: onnx.NodeProto) -> tuple[float, float, float]:
    given = attributes(node)
    return given.get("alpha", 1e-4), given.get("beta", 0.75), given.get("bias", 1.0)


def _finish(
    context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor,
) -> None:
    """Emit the normalization, and the clips and views behind it."""
    node = operations[0].node
    clips, rest = leading_clips(operations[1:])
    LAST.check(done=node.op_type, rest=[op for op in rest if op.kind != "view"])
    name = context.names.fresh(target.name, "normalized") if rest else target.name
    x = context.settle(x, channels_last(len(x.shape)))
    y = replace(target, name=name, shape=x.shape, layout=x.layout)
    label = "+".join(op.node.op_type for op in (operations[0], *clips))
    _emit(context, node, label, x, y, clips)
    context.note(
        node, "lowered by kiwicha: LRN, which ONNX Runtime computes in float, with sums of squares "
        "in 8 bits (golden-exact)",
    )
    if rest:
        emit_chain(context, end, y, rest, target)


def _emit(
    context: Context, node: onnx.NodeProto, label: str, x: Tensor, y: Tensor,
    clips: Sequence[FloatOp],
) -> None:
    size, channels, title = attributes(node)["size"], x.shape[1], node_name(node)
    steps = np.arange(256, dtype=np.uint8).view(x.dtype).astype(np.int64) - x.zero_point
    largest = float(np.abs(steps).max())
    square, mean = (
        Tensor(name, x.shape, np.dtype(np.uint8), np.float32(1), 0, x.layout)
        for name in (context.names.fresh(y.name, part) for part in ("square", "mean"))
    )
    table = np.rint(steps**2 * (255 / largest**2)).astype(np.uint8)
    context.emit(TableNode(
        context.names.fresh(title, "square"), "Square", x, square, table, "golden"
    ))
    place = np.arange(channels)
    before = place[:, None] - place[None, :]  # of each channel, how far ahead another one is
    band = (before <= (size - 1) // 2) & (before >= -(size // 2))
    zeros, ones = np.zeros(channels, np.int32), np.ones(channels)
    scale = ones.astype(np.float32) / np.float32(size)
    context.emit(ConvNode(
        context.names.fresh(title, "mean"), "Mean", square, mean,
        band.astype(np.int8).reshape(channels, channels, 1, 1), zeros.astype(np.int16), zeros,
        scale, ones / size, 1, (1, 1), (0, 0, 0, 0), (1, 1), 0, 255, "golden",
    ))
    alpha, beta, bias = _parameters(node)
    means = np.arange(256) * (largest * float(x.scale)) ** 2 / 255
    factors = (bias + alpha * means) ** -beta * (float(x.scale) / float(y.scale))
    check_scale(np.atleast_1d(x.scale / y.scale), "input scale / output scale")
    low, high = clip_codes(clips, y)
    context.emit(TablesNode(
        title, label, x, mean, y, low, high, zero_last=True, promise="golden",
        operation=SpecialOperation.MUL,
        tables=factor_tables(steps, np.zeros_like(steps), factors),
    ))


OPERATORS = (
    Operator(
        "LRN",
        (Form("float", ("LRN",), "golden", local_response_normalization, first_is_float),),
        "lrn.lrn",
        (QUANTIZED, FIRST, LAST, _BIAS),
        "windows of 1 to 9 channels, alpha 1e-4 to 1, beta 0.25 to 1, bias 1 and 2: at most two "
        "codes from float, and more than one in at most 0.2 % of elements",
        ("tests/golden/test_lrn.py", "tests/compiler/test_lrn.py"),
    ),
)
