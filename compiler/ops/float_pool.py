# SPDX-License-Identifier: Apache-2.0
"""Poolings that ONNX Runtime leaves in float: taken where they are met, emitted where their results
are quantized."""

from collections.abc import Callable

import onnx

from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.graph.tensor import Shape
from kiwicha.compiler.ops.context import Context, Finish, FloatOp, FloatValue
from kiwicha.compiler.ops.limits import FIRST, QUANTIZED
from kiwicha.compiler.ops.own_scale import in_codes
from kiwicha.compiler.ops.window import Window

__all__ = ["take_pool"]


def take_pool(
    context: Context, node: onnx.NodeProto, frame: Callable[[onnx.NodeProto, Shape], Window],
    finish: Finish,
) -> None:
    """Remember a pooling for who quantizes it.

    Parameters
    ----------
    frame : returns the windows over a value of that shape.
    finish : emits it, and the operations behind it.
    """
    value = in_codes(context, node, node.input[0])
    QUANTIZED.check(quantized=isinstance(value.origin, Tensor))
    FIRST.check(done=value.operations[-1].node.op_type if value.operations else "")
    shape = (*value.shape[:2], *frame(node, value.shape).output)
    done = FloatOp("average", node, shape, finish=finish)
    context.floats[node.output[0]] = FloatValue(value.origin, (done,))
