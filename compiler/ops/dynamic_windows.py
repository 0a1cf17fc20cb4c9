# SPDX-License-Identifier: Apache-2.0
"""Windows of a MaxPool behind a dynamically quantized layer: which results are in some of them."""

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Shape
from kiwicha.compiler.ops.window import Window

__all__ = ["covers", "met", "some_machine_has"]

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
