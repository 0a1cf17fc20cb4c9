# SPDX-License-Identifier: Apache-2.0
"""Which weights of a network go when it is pruned half-way, after Guo et al. (FPGA 2019).

The groups of the least L2 norm, once and for good. int8 weights lie inputs first, outputs last.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["filter_masks", "kept_groups", "weight_masks"]

Mask = NDArray[np.bool_]


def kept_groups(
    weights: NDArray[np.integer], fraction: float, axes: tuple[int, ...] = ()
) -> Mask:
    """Return which groups stay: all but ``round(fraction * groups)`` (half to even) of the least
    sum of squares, of equal ones the first in the order of memory; one at least stays.

    Parameters
    ----------
    fraction : 0 to 1.
    axes : along which a group lies; () for single weights.

    Raises
    ------
    ValueError
        For a fraction out of range.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; legal: 0 to 1")
    squares = weights.astype(np.int64) ** 2
    norms = squares.sum(axis=axes) if axes else squares
    gone = min(round(fraction * norms.size), norms.size - 1)
    kept = np.ones(norms.size, np.bool_)
    kept[np.argsort(norms, axis=None, kind="stable")[:gone]] = False
    return kept.reshape(norms.shape)


def weight_masks(layers: Sequence[NDArray[np.integer]], fraction: float) -> list[Mask]:
    """Return the mask of each layer, of whose weights that fraction goes."""
    return [kept_groups(weights, fraction) for weights in layers]


def filter_masks(layers: Sequence[NDArray[np.integer]], fraction: float) -> list[Mask]:
    """Return the mask of each layer, of whose outputs that fraction goes, and with them what the
    next layer reads of them; all outputs of the last layer stay.

    What is masked is 0 from then on and stays so by itself: it has a result of 0, whose gradients
    and errors are 0.

    Parameters
    ----------
    layers : one behind the other; where a layer has more inputs than the one before outputs, these
        are channels, which vary fastest.
    """
    masks, before = list[Mask](), np.ones(layers[0].shape[0], np.bool_)
    for index, weights in enumerate(layers):
        *others, outputs = range(weights.ndim)
        last = index == len(layers) - 1
        kept = kept_groups(weights, 0 if last else fraction, tuple(others))
        before = np.tile(before, weights.shape[0] // len(before))
        shape = (-1, *(1,) * outputs)
        masks.append(np.broadcast_to(before.reshape(shape) & kept, weights.shape).copy())
        before = kept
    return masks
