# SPDX-License-Identifier: Apache-2.0
"""DFT, STFT and Col2Im between DequantizeLinear and QuantizeLinear: products with their matrix
(`compiler.ops.linear_map`)."""

import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Shape, Tensor
from kiwicha.compiler.ops.context import Context, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, QUANTIZED
from kiwicha.compiler.ops.linear_map import SIZE, finish_map, mapped_shape, runtime_map
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.own_scale import in_codes

__all__ = ["OPERATORS"]

_TRANSFORMS = ("DFT", "STFT", "Col2Im")
_LEADING = Limit("transforms axis 0; transpose its input", lambda axes: 0 not in axes)


def transform(context: Context, node: onnx.NodeProto) -> None:
    """Nothing is emitted before the QuantizeLinear."""
    value = in_codes(context, node, node.input[0])
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    FIRST.check(done=value.operations[-1].node.op_type if value.operations else "")
    axes = _axes(context, node, value.shape)
    _LEADING.check(axes=axes)
    made = runtime_map(context, node, value.shape, axes)

    def finish(
        context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
        target: Tensor,
    ) -> None:
        finish_map(context, end, x, operations, target, [made])

    done = FloatOp("average", node, mapped_shape(value.shape, made), finish=finish)
    context.floats[node.output[0]] = FloatValue(value.origin, (done,))


def _axes(context: Context, node: onnx.NodeProto, shape: Shape) -> tuple[int, ...]:
    """Return the axes that a transform mixes: that of a DFT with real and imaginary parts, all but
    the batch of others."""
    rank = len(shape)
    if node.op_type != "DFT":
        return tuple(range(1, rank))
    axis = attributes(node).get("axis", 1)
    if len(node.input) > 2 and node.input[2]:
        axis = int(context.constant(node, 2, "axis").reshape(-1)[0])
    elif max(entry.version for entry in context.model.opset_import if not entry.domain) >= 20:
        axis = -2
    return axis % rank, rank - 1


OPERATORS = (
    Operator(
        ", ".join(_TRANSFORMS),
        (Form("float", _TRANSFORMS, "golden", transform, first_is_float),),
        "matmul.matmul",
        (QUANTIZED, FIRST, SIZE, _LEADING),
        "any constant lengths, windows and blocks, inverse, one-sided. Within one code where the "
        "bytes of the weights are fine enough for it, up to eight for an entry, else golden-exact",
        ("tests/compiler/test_linear_map.py",),
    ),
)
