# SPDX-License-Identifier: Apache-2.0
"""Sliding windows of Conv and MaxPool: attributes to kernel, strides, pads, dilations, size.

1-D windows become 2-D windows of height one. Sizes follow ONNX Runtime
(``ComputePadAndOutputShape`` and ``PoolAttributes``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.graph.graph import Pair, Quad, Shape

__all__ = ["LIMITS", "RANK", "Window", "window"]

_AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")

RANK = Limit("is {rank}-D; the machine has 1-D and 2-D windows", lambda rank: rank in (1, 2))
_FIT = Limit(
    "kernel has {kernel} dimensions, the image {image}", lambda kernel, image: kernel == image
)
_ATTRIBUTES = Limit(
    "strides {strides}, dilations {dilations} or pads {pads} do not match the kernel",
    lambda rank, strides, dilations, pads: (
        len(strides) == len(dilations) == rank and len(pads) == 2 * rank
    ),
)
_POSITIVE = Limit(
    "kernel, strides and dilations must be at least 1, are {values}", lambda values: min(values) > 0
)
_PADS = Limit("negative pads {pads}", lambda pads: min(pads) >= 0)
_AUTO_PAD = Limit("auto_pad {mode!r}", lambda mode: mode in _AUTO)
_ROOM = Limit(
    "kernel spans {extent}, the padded image only {length}",
    lambda extent, length, least: least <= length,
)
LIMITS = (RANK, _ROOM)
"""Limits that a model which ONNX Runtime takes may break."""


@dataclass(frozen=True)
class Window:
    """A 2-D sliding window.

    Members
    -------
    pads : top, left, bottom, right; the last two reach as far as the last window does, the first
        two are negative where windows leave out the image's first pixels.
    output : spatial output shape in the rank of the input.
    """

    kernel: Pair
    strides: Pair
    pads: Quad
    dilations: Pair
    output: Shape


def window(
    attributes: dict[str, Any], size: Shape, kernel: Sequence[int], pool: bool = False
) -> Window:
    """Return the window of ``kernel`` over an image of ``size`` (spatial dimensions only).

    Parameters
    ----------
    pool : of a pooling, whose windows may begin inside the image (with auto_pad), or end behind
        the padding.

    Raises
    ------
    Refusal
        Where the attributes are not those of a 1-D or 2-D window, or the image is too small.
    """
    rank = len(size)
    RANK.check(rank=rank)
    _FIT.check(kernel=len(kernel), image=rank)
    strides = list(attributes.get("strides") or [1] * rank)
    dilations = list(attributes.get("dilations") or [1] * rank)
    pads = list(attributes.get("pads") or [0] * 2 * rank)
    _ATTRIBUTES.check(rank=rank, strides=strides, dilations=dilations, pads=pads)
    _POSITIVE.check(values=[*kernel, *strides, *dilations])
    _PADS.check(pads=pads)
    auto_pad = attributes.get("auto_pad", "NOTSET")
    _AUTO_PAD.check(mode=auto_pad)
    output, before, after = [], [], []
    for axis in range(rank):
        length, stride = size[axis], strides[axis]
        extent = (kernel[axis] - 1) * dilations[axis] + 1
        head, tail = pads[axis], pads[axis + rank]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            count = -(-length // stride)
            # Without dilation, and of pools below 0: so does ONNX Runtime.
            needed = (count - 1) * stride + kernel[axis] - length
            needed = needed if pool else max(needed, 0)
            head = int((needed + (auto_pad == "SAME_LOWER")) / 2)
            tail = needed - head
        elif auto_pad == "VALID":
            head = tail = 0
        room = length + head + tail - extent
        # A window of a pool may reach too far by less than a stride.
        fits = extent - stride + 1 if pool else extent
        _ROOM.check(extent=extent, length=length + head + tail, least=fits)
        count = max(room, 0) // stride + 1
        if attributes.get("ceil_mode", 0):
            count = -(-max(room, 0) // stride) + 1
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
