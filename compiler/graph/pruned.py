# SPDX-License-Identifier: Apache-2.0
"""Networks without the outputs that were pruned: what is left of each layer lies side by side."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.trainable import Convolution, Layer, Linear, Network

__all__ = ["compact", "compact_network", "expand"]

Mask = NDArray[np.bool_]
Weights = NDArray[np.int8]


def compact_network(network: Network, masks: dict[str, Mask]) -> Network:
    """Return ``network`` with as many inputs and outputs as are left; its results are the same,
    but for those that are gone, which are 0.

    Parameters
    ----------
    masks : as of `golden.pruning.filter_masks`, by the names of the layers.
    """
    layers = list[Layer]()
    for layer in network.layers:
        if isinstance(layer, Linear | Convolution):
            inputs, outputs = (int(axis.sum()) for axis in _axes(masks[layer.name]))
            layer = replace(layer, inputs=inputs, outputs=outputs)
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def compact(weights: Weights, mask: Mask) -> Weights:
    """Return what is left of a layer's weights."""
    inputs, outputs = _axes(mask)
    return np.ascontiguousarray(weights[inputs][..., outputs])


def expand(weights: Weights, mask: Mask) -> Weights:
    """Return weights in their places, and 0 where the mask is false."""
    inputs, outputs = _axes(mask)
    made = np.zeros(mask.shape, np.int8)
    part = made[inputs]
    part[..., outputs] = weights
    made[inputs] = part
    return made


def _axes(mask: Mask) -> tuple[Mask, Mask]:
    """Return which inputs and which outputs are left."""
    *others, outputs = range(mask.ndim)
    left = mask.any(axis=(*others[1:], outputs)), mask.any(axis=tuple(others))
    return np.asarray(left[0]), np.asarray(left[1])
