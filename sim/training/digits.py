# SPDX-License-Identifier: Apache-2.0
"""The handwritten digits as they are learned, int8: 8x8 in rows, or 28x28 pixels for LeNet-5."""

from dataclasses import replace
from typing import Any

import numpy as np

from kiwicha.compiler.graph.trainable import Convolution, Linear, MaxPool
from kiwicha.errors import InputError
from kiwicha.models.digits import enlarge, load_small_digits
from kiwicha.sim.training.plan import Data, images_of

__all__ = ["HIDDEN", "LENET5", "digits", "large_digits", "small_images"]

LENET5 = (
    Convolution("conv1", 1, 6, (5, 5), 0, relu=True, pads=(2, 2, 2, 2)), MaxPool("pool1", (2, 2)),
    Convolution("conv2", 6, 16, (5, 5), 0, relu=True), MaxPool("pool2", (2, 2)),
    Linear("fc1", 400, 120, 0, relu=True), Linear("fc2", 120, 84, 0, relu=True),
    Linear("fc3", 84, 10, 0),
)
"""For images of 28x28."""

HIDDEN = (64,)
"""Outputs of the layers before the last one: 64-64-10 is NITI's size for such images."""
_CLASSES, _WHITE = 10, 16


def digits() -> Data:
    """Return 1437 images to learn from and 360 held out.

    Raises
    ------
    InputError
        Where scikit-learn, which has them, is not installed.
    """
    given = _given()
    (images, labels), (held, held_labels) = given
    flat = [images_of(each.reshape(len(each), -1) / np.float64(_WHITE)) for each in (images, held)]
    return Data(flat[0], labels, flat[1], held_labels, _CLASSES)


def large_digits() -> Data:
    """Return the same, enlarged to 28x28 pixels of one channel; raises as `digits`."""
    (images, labels), (held, held_labels) = _given()
    large = [
        images_of(enlarge(each).transpose(0, 2, 3, 1).astype(np.float64))
        for each in (images, held)
    ]
    return Data(large[0], labels, large[1], held_labels, _CLASSES)


def small_images() -> Data:
    """Return the same as images of 8x8 pixels of one channel; raises as `digits`."""
    data = digits()
    images, held = (each.reshape(-1, 8, 8, 1) for each in (data.images, data.held_images))
    return replace(data, images=images, held_images=held)


def _given() -> Any:
    try:
        return load_small_digits()
    except ImportError:
        raise InputError("the digits need scikit-learn: pip install kiwicha[train]") from None
