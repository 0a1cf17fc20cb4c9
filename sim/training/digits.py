# SPDX-License-Identifier: Apache-2.0
"""The handwritten digits as they are learned: 8x8 images, int8."""

import numpy as np

from kiwicha.errors import InputError
from kiwicha.models.digits import load_small_digits
from kiwicha.sim.training.plan import Data, images_of

__all__ = ["HIDDEN", "digits"]

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
    try:
        given = load_small_digits()
    except ImportError:
        raise InputError("the digits need scikit-learn: pip install kiwicha[train]") from None
    (images, labels), (held, held_labels) = given
    flat = [images_of(each.reshape(len(each), -1) / np.float64(_WHITE)) for each in (images, held)]
    return Data(flat[0], labels, flat[1], held_labels, _CLASSES)
