# SPDX-License-Identifier: Apache-2.0
"""Averages of a dynamically quantized convolution's result, which ONNX Runtime computes in float:
it is quantized by its own range, and a convolution of each channel with ones adds it up."""

from dataclasses import replace
from math import prod

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Shape, Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic_input import slot_record
from kiwicha.compiler.ops.dynamic_linear import Linear
from kiwicha.compiler.ops.dynamic_real import Real, Reals
from kiwicha.compiler.ops.window import Window, window

__all__ = ["average", "average_of_real", "average_window"]


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
    name, record = _codes(context, records, node)
    replace(linear, golden=True).quantized(context, records[linear.source], name, record)
    return _averages(node, name, linear.shape, frame)


def average_of_real(
    context: Context, records: dict[str, Tensor], node: onnx.NodeProto, reals: Reals, real: Real
) -> Linear | None:
    """Return the same of a value that is in memory; None where there is no rule for it."""
    given, size = attributes(node), real.shape[2:]
    if not real.image or not real.plain or real.last:
        return None
    frame = window(given, size, given.get("kernel_shape", size), pool=True)
    if any(frame.pads):
        return None
    name, record = _codes(context, records, node)
    reals.quantized(node, real, name, record, "golden")
    return _averages(node, name, real.shape, frame)


def _codes(
    context: Context, records: dict[str, Tensor], node: onnx.NodeProto
) -> tuple[str, Tensor]:
    """Return the name of what will be averaged, and the record of its scale."""
    name = context.names.fresh(node.input[0], "codes")
    records[name] = record = slot_record(context.names.fresh(name, "slots"))
    context.note(
        node, f"lowered by kiwicha: {node.op_type}, which ONNX Runtime computes in float, of codes "
        "of a range of their own (golden-exact)",
    )
    return name, record


def _averages(node: onnx.NodeProto, name: str, x: Shape, frame: Window) -> Linear:
    channels, shape = x[1], (*x[:2], *frame.output)
    return Linear(
        node, name, np.ones((channels, 1, *frame.kernel), np.int8), np.zeros(channels, np.int16),
        shape, shape, frame, channels, cast=True, op=node.op_type, golden=True,
        w_scale=np.full(channels, 1 / prod(frame.kernel), np.float32),
    )
