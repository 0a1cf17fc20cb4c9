# SPDX-License-Identifier: Apache-2.0
"""Averages of a dynamically quantized convolution's result, which ONNX Runtime computes in float:
it is quantized by its own range, and a convolution of each channel with ones adds it up."""

from dataclasses import replace
from math import prod

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic_input import slot_record
from kiwicha.compiler.ops.dynamic_linear import Linear
from kiwicha.compiler.ops.window import Window, window

__all__ = ["average", "average_window"]


def average_window(node: onnx.NodeProto, linear: Linear) -> Window | None:
    """Return the windows of an average of float values; None where there is no rule for it."""
    if linear.w_scale is None or linear.frame is None or linear.views or linear.last:
        return None
    given, size = attributes(node), linear.shape[2:]
    frame = window(given, size, given.get("kernel_shape", size), pool=True)
    return None if any(frame.pads) else frame


def average(
    context: Context, records: dict[str, Tensor], node: onnx.NodeProto, linear: Linear,
    frame: Window,
) -> Linear:
    """Emit the codes of the result, and return the averages as a layer of them.

    Parameters
    ----------
    records : where the scale of each tensor is; that of the codes comes to them.
    """
    name = context.names.fresh(node.input[0], "codes")
    records[name] = record = slot_record(context.names.fresh(name, "slots"))
    replace(linear, golden=True).quantized(context, records[linear.source], name, record)
    context.note(
        node, f"lowered by kiwicha: {node.op_type}, which ONNX Runtime computes in float, of codes "
        "of a range of their own (golden-exact)",
    )
    channels, shape = linear.shape[1], (*linear.shape[:2], *frame.output)
    return Linear(
        node, name, np.ones((channels, 1, *frame.kernel), np.int8), np.zeros(channels, np.int16),
        shape, shape, frame, channels, cast=True, op=node.op_type, golden=True,
        w_scale=np.full(channels, 1 / prod(frame.kernel), np.float32),
    )
