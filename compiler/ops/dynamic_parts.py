# SPDX-License-Identifier: Apache-2.0
"""Parts of a dynamically quantized layer's result, and slopes of its negative values."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import SLICED
from kiwicha.compiler.ops.dynamic_linear import Linear
from kiwicha.compiler.ops.part import boxes

__all__ = ["slices", "slope_of"]


def slope_of(context: Context, node: onnx.NodeProto) -> NDArray[Any] | None:
    """Return what LeakyRelu or PRelu multiplies negative values by; None where nobody knows."""
    if node.op_type == "PRelu":
        return context.constants.get(node.input[1])
    return np.asarray(np.float32(attributes(node).get("alpha", 0.01)))


def slices(context: Context, node: onnx.NodeProto, linear: Linear) -> dict[str, Linear]:
    """Return the results of Slice or Split as layers with fewer columns.

    Raises
    ------
    Refusal
        Where they are no neighbouring columns of all rows.
    """
    made, shape = dict[str, Linear](), linear.shape
    own = len(shape) - 1 if linear.frame is None else 1
    for name, box in boxes(context, node, shape):
        taken = [np.asarray(each) for each in box.axes]
        whole = all(
            np.array_equal(each, np.arange(shape[axis]))
            for axis, each in enumerate(taken) if axis != own
        )
        together = bool((np.diff(taken[own]) == 1).all())
        SLICED.check(op=node.op_type, fits=whole and together and linear.groups == 1)
        made[name] = linear.sliced(int(taken[own][0]), len(taken[own]), node.op_type)
    return made
