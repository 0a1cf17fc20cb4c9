# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits: scikit-learn's 1797 8x8 images, enlarged to 28x28 with NumPy alone.

The split and the scaling use no random numbers, so they cannot drift with a NumPy version.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Digits", "enlarge", "load_digits", "load_npz", "load_small_digits", "save_npz"]

SIDE = 28  #: pixels per side after enlarging
HELD_OUT_STRIDE = 5  #: one image in five is held out
LEVELS = 255  #: grey levels above black

_Labelled = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class Digits:
    """Labelled images.

    Members
    -------
    images : float32, N x 1 x 28 x 28, in [0, 1], multiples of 1/255
    labels : int64, N
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def enlarge(images: NDArray[Any]) -> NDArray[np.float32]:
    """Scale N x 8 x 8 images of 0..16 to N x 1 x 28 x 28 in [0, 1] (bilinear, half-pixel centres).

    Results are rounded to 256 grey levels, as from an 8-bit camera: files compress well and the
    image survives 8-bit quantization of the network's input unchanged.
    """
    source = images.shape[-1]
    centres = (np.arange(SIDE) + 0.5) * source / SIDE - 0.5
    # The triangle kernel is bilinear interpolation; clipping the centres repeats the border pixels.
    distance = np.abs(np.clip(centres, 0, source - 1)[:, None] - np.arange(source))
    kernel = np.maximum(0.0, 1.0 - distance)
    grey = np.rint(kernel @ (images.astype(np.float64) / 16) @ kernel.T * LEVELS)
    return np.asarray(grey[:, None].astype(np.float32) / np.float32(LEVELS))


def load_digits() -> tuple[Digits, Digits]:
    """Return (training, held-out): 1437 and 360 images, each class in both in proportion.

    Needs scikit-learn (the ``train`` extra); the held-out part also ships as an .npz file.
    """
    (images, labels), (held, held_labels) = load_small_digits()
    return Digits(enlarge(images), labels), Digits(enlarge(held), held_labels)


def load_small_digits() -> tuple[_Labelled, _Labelled]:
    """Return the same images as they are, N x 8 x 8 numbers from 0 to 16, with their labels."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    images, labels = bunch.images, bunch.target.astype(np.int64)
    by_class = np.argsort(labels, kind="stable")
    # In the data set's own order the labels run 0..9 cyclically: a stride would pick two classes.
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[by_class[::HELD_OUT_STRIDE]] = True
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def save_npz(path: Path, digits: Digits) -> None:
    """Write ``image`` (float32, the graph's input name) and ``labels`` (int64), compressed."""
    np.savez_compressed(path, image=digits.images, labels=digits.labels)


def load_npz(path: Path) -> Digits:
    """Read what `save_npz` wrote."""
    with np.load(path) as file:
        return Digits(file["image"], file["labels"])
