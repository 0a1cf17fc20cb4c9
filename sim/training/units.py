# SPDX-License-Identifier: Apache-2.0
"""Exponents that optimizers need and that are known before a step runs: of networks and models."""

from collections.abc import Sequence
from math import log2

import numpy as np

from kiwicha.compiler.graph.nodes import PoolNode
from kiwicha.compiler.graph.optimizing import Units
from kiwicha.compiler.graph.trainable import AveragePool, Convolution, Linear, Network
from kiwicha.compiler.graph.training import IMAGES
from kiwicha.compiler.graph.tuning import weights_of
from kiwicha.compiler.graph.tuning_images import TunedLayer

__all__ = ["model_units", "network_units"]


def network_units(network: Network) -> Units:
    """Return those of a network of our own."""
    weights, passing = {}, {}
    for layer in network.layers:
        if isinstance(layer, Linear | Convolution):
            weights[layer.name] = passing[f"{layer.name}:EB"] = layer.exponent
        elif isinstance(layer, AveragePool):
            area = layer.kernel[0] * layer.kernel[1]
            passing[f"{layer.name}:EB"] = -(area.bit_length() - 1)
    return Units(weights=weights, given={IMAGES: network.exponent}, passing=passing)


def model_units(path: Sequence[TunedLayer]) -> Units:
    """Return those of the layers of a model that are on the way: the nearest powers of two to its
    scales, of several channels the middle one's."""
    weights, given, passing = {}, {}, {}
    for node in path:
        given[node.x.name] = round(log2(float(node.x.scale)))
        if isinstance(node, PoolNode):
            continue
        scale = float(np.median(node.scale64)) * float(node.y.scale) / float(node.x.scale)
        weights[weights_of(node)] = passing[f"{node.name}:EB"] = round(log2(scale))
    return Units(weights=weights, given=given, passing=passing)
