# SPDX-License-Identifier: Apache-2.0
"""Functions of the binary32 values of dynamically quantized layers: their constants."""

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Bounds
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import BOUND, FINITE
from kiwicha.compiler.ops.dynamic_state import FULL

__all__ = ["clip_bounds"]


def clip_bounds(context: Context, node: onnx.NodeProto) -> Bounds:
    """Return the bounds of a Clip, finite ones: those of an old one are attributes.

    Raises
    ------
    Refusal
        For bounds that are no constants, or NaN.
    """
    given, ends = attributes(node), list[float]()
    for place, (key, without) in enumerate(zip(("min", "max"), FULL, strict=True), 1):
        name = node.input[place] if len(node.input) > place else ""
        BOUND.check(name=name, constants=context.constants)
        value = np.asarray(context.constants[name] if name else given.get(key, without))
        end = np.nan_to_num(
            value.reshape(-1)[:1].astype(np.float32), nan=np.nan, neginf=FULL[0], posinf=FULL[1]
        )
        FINITE.check(what="bound", name=name or key, value=end)
        ends.append(float(end[0]))
    return ends[0], ends[1]
