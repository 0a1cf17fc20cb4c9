# SPDX-License-Identifier: Apache-2.0
"""Windows of a MaxPool behind a dynamically quantized layer: which results are in some of them, and
the pooling of codes."""

from dataclasses import replace
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import PoolNode, Quad, Shape, Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.window import Window

__all__ = ["covers", "emit_pooled", "met", "some_machine_has"]

_LARGEST = 15


def met(frame: Window, size: Shape) -> list[NDArray[np.int64]]:
    """Return for each axis of an image of ``size`` which places are in some window."""
    found = []
    for axis, length in enumerate(size):
        place = 2 - len(size) + axis
        starts = np.arange(frame.output[axis]) * frame.strides[place] - frame.pads[place]
        taps = np.arange(frame.kernel[place]) * frame.dilations[place]
        places = np.unique(starts[:, None] + taps)
        found.append(places[(places >= 0) & (places < length)])
    return found


def covers(frame: Window, size: Shape) -> bool:
    """Whether there are no gaps between the windows."""
    return all(np.array_equal(each, np.arange(len(each))) for each in met(frame, size))


def some_machine_has(frame: Window) -> bool:
    """Whether VECTOR can walk such windows: ``pooling.window``."""
    return frame.dilations == (1, 1) and max(frame.kernel) <= _LARGEST


def emit_pooled(
    context: Context, node: onnx.NodeProto, frame: Window, x: Tensor, name: str
) -> Tensor:
    """Emit the pooling of codes, as tensor ``name``."""
    ends = [
        max(0, (count - 1) * stride - before + (kernel - 1) * dilation + 1 - length)
        for count, stride, before, kernel, dilation, length in zip(
            (1, *frame.output)[-2:], frame.strides, frame.pads, frame.kernel, frame.dilations,
            x.image[2:], strict=False,
        )
    ]
    y = replace(x, name=name, shape=(*x.shape[:2], *frame.output))
    context.emit(PoolNode(
        node_name(node), node.op_type, x, y, frame.kernel, frame.strides,
        cast(Quad, (*frame.pads[:2], *ends)), frame.dilations, np.float32(1), np.float64(1), 0,
        255,
    ))
    return y
