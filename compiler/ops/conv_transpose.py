# SPDX-License-Identifier: Apache-2.0
"""ConvTranspose, which ONNX Runtime computes in float: shape, weights and node of `linear`."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import ConvTransposeNode, Pair, Shape, Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.compiler.ops.context import Context, Quantized
from kiwicha.compiler.ops.weights import Weights, combined_scale
from kiwicha.compiler.ops.window import RANK

__all__ = ["conv_transpose_shape", "emit_conv_transpose", "forward_weights"]

_FIT = Limit(
    "input has shape {x}, the weight {weights}, {groups} groups",
    lambda x, weights, groups: (
        len(x) == len(weights) and x[1] == weights[0] and not weights[0] % groups
    ),
)


@dataclass(frozen=True)
class _Frame:
    """Where a transposed convolution writes.

    Members
    -------
    before : cut off in front of each axis.
    size : spatial shape of the result.
    """

    strides: Shape
    dilations: Shape
    before: Shape
    size: Shape


def _frame(given: dict[str, Any], image: Shape, kernel: Shape) -> _Frame:
    """Return where it writes, as ONNX Runtime has it: a given output shape, or SAME_UPPER and
    SAME_LOWER, decide how much is cut off, and where."""
    rank = len(kernel)
    strides, dilations = (tuple(given.get(n) or [1] * rank) for n in ("strides", "dilations"))
    pads = tuple(given.get("pads") or [0] * 2 * rank)
    extra = tuple(given.get("output_padding") or [0] * rank)
    auto, wanted = given.get("auto_pad", "NOTSET"), tuple(given.get("output_shape") or ())[-rank:]
    before, size = [], []
    for axis in range(rank):
        stride = strides[axis]
        full = (image[axis] - 1) * stride + (kernel[axis] - 1) * dilations[axis] + 1 + extra[axis]
        head, tail = pads[axis], pads[rank + axis]
        length = full - head - tail
        if wanted or auto in ("SAME_UPPER", "SAME_LOWER"):
            length = wanted[axis] if wanted else image[axis] * stride
            cut = max(full - length, 0)
            head = cut // 2 if auto == "SAME_UPPER" else cut - cut // 2
            length = length if wanted else full - cut
        before.append(head)
        size.append(length)
    return _Frame(strides, dilations, tuple(before), tuple(size))


def conv_transpose_shape(node: onnx.NodeProto, x: Shape, weights: Shape) -> Shape:
    """Return the shape of the result; ``weights`` as in ONNX, in channels x out / groups x kernel.

    Raises
    ------
    Refusal
        Where ranks, channels or groups do not fit.
    """
    given = attributes(node)
    RANK.check(rank=len(weights) - 2)
    groups = given.get("group", 1)
    _FIT.check(x=x, weights=weights, groups=groups)
    return (x[0], weights[1] * groups, *_frame(given, x[2:], weights[2:]).size)


def forward_weights(node: onnx.NodeProto, weight: Quantized) -> Quantized:
    """Return ONNX's weights as those of a convolution: out channels x in / groups x kernel."""
    groups = attributes(node).get("group", 1)

    def forward(value: NDArray[Any]) -> NDArray[Any]:
        inputs, outputs, *kernel = value.shape
        parts = value.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
        return parts.reshape(groups * outputs, inputs // groups, *kernel)

    return Quantized(*map(forward, (weight.codes, weight.scale, weight.zero)))


def emit_conv_transpose(
    context: Context, node: onnx.NodeProto, x: Tensor, product: Weights, target: Tensor
) -> None:
    """Emit a transposed convolution.

    Parameters
    ----------
    product : with the weights that `forward_weights` returns.
    target : name, type, scale and zero point of the result.
    """
    given, weights = attributes(node), product.codes
    rank = weights.ndim - 2
    layout = channels_last(len(x.shape))
    x = context.settle(x, layout)
    frame = _frame(given, x.shape[2:], weights.shape[2:])
    shape = (x.shape[0], weights.shape[0], *frame.size)
    scale, scale64 = combined_scale(x.scale, product.scale, target.scale)
    info = np.iinfo(target.dtype)

    def pair(values: Shape, fill: int) -> Pair:
        return cast(Pair, (*[fill] * (2 - rank), *values))

    context.emit(ConvTransposeNode(
        name=node_name(node), op=node.op_type, x=x,
        y=Tensor(target.name, shape, target.dtype, target.scale, target.zero_point, layout),
        weights=weights.reshape(*weights.shape[:2], *pair(weights.shape[2:], 1)),
        weight_zero=product.zero, bias=product.bias, scale=scale, scale64=scale64,
        groups=given.get("group", 1), strides=pair(frame.strides, 1), pads=pair(frame.before, 0),
        dilations=pair(frame.dilations, 1), low=int(info.min), high=int(info.max),
    ))
