# SPDX-License-Identifier: Apache-2.0
"""Sliding windows of Conv and MaxPool: attributes to kernel, strides, pads, dilations, size.

1-D windows become 2-D windows of height one. Sizes follow ONNX Runtime
(``ComputePadAndOutputShape`` and ``PoolAttributes``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from kiwicha.compiler.frontend.onnx_node import Refusal
from kiwicha.compiler.graph.graph import Pair, Quad, Shape

__all__ = ["Window", "window"]


@dataclass(frozen=True)
class Window:
    """A 2-D sliding window.

    Members
    -------
    pads : top, left, bottom, right; the last two reach as far as the last window does.
    output : spatial output shape in the rank of the input.
    """

    kernel: Pair
    strides: Pair
    pads: Quad
    dilations: Pair
    output: Shape


def window(attributes: dict[str, Any], size: Shape, kernel: Sequence[int]) -> Window:
    """Return the window of ``kernel`` over an image of ``size`` (spatial dimensions only).

    Raises
    ------
    Refusal
        Where the attributes are not those of a 1-D or 2-D window, or the image is too small.
    """
    rank = len(size)
    if rank not in (1, 2):
        raise Refusal(f"is {rank}-D; the machine has 1-D and 2-D windows")
    if len(kernel) != rank:
        raise Refusal(f"kernel has {len(kernel)} dimensions, the image {rank}")
    strides = list(attributes.get("strides") or [1] * rank)
    dilations = list(attributes.get("dilations") or [1] * rank)
    pads = list(attributes.get("pads") or [0] * 2 * rank)
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        raise Refusal("strides, dilations or pads do not match the kernel")
    if min([*kernel, *strides, *dilations]) < 1:
        raise Refusal("kernel, strides and dilations must be at least 1")
    if min(pads) < 0:
        raise Refusal("negative pads")
    auto_pad = attributes.get("auto_pad", "NOTSET")
    output, before, after = [], [], []
    for axis in range(rank):
        length, stride = size[axis], strides[axis]
        extent = (kernel[axis] - 1) * dilations[axis] + 1
        head, tail = pads[axis], pads[axis + rank]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            count = -(-length // stride)
            needed = max((count - 1) * stride + extent - length, 0)
            head = (needed + (auto_pad == "SAME_LOWER")) // 2
            tail = needed - head
        elif auto_pad == "VALID":
            head = tail = 0
        elif auto_pad != "NOTSET":
            raise Refusal(f"auto_pad {auto_pad!r}")
        room = length + head + tail - extent
        if room < 0:
            raise Refusal(f"kernel spans {extent}, the padded image only {length + head + tail}")
        count = room // stride + 1
        if attributes.get("ceil_mode", 0):
            count = -(-room // stride) + 1
            # A last window that starts in the padding behind the image is dropped.
            count -= (count - 1) * stride >= length + head
        output.append(count)
        before.append(head)
        after.append(max(0, (count - 1) * stride + extent - length - head))
    lift, flat = [1] * (2 - rank), [0] * (2 - rank)
    return Window(
        cast(Pair, (*lift, *kernel)),
        cast(Pair, (*lift, *strides)),
        cast(Quad, (*flat, *before, *flat, *after)),
        cast(Pair, (*lift, *dilations)),
        tuple(output),
    )
