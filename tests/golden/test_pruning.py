# SPDX-License-Identifier: Apache-2.0
"""Masks by L2 norm, and steps of masked networks written down a second time."""

import numpy as np
import pytest

from kiwicha.compiler.graph.pruned import compact, compact_network, expand
from kiwicha.compiler.graph.trainable import AveragePool, Convolution, Linear, MaxPool, Network
from kiwicha.compiler.graph.training import LOGITS, training_graph
from kiwicha.golden.pruning import filter_masks, kept_groups, weight_masks
from kiwicha.golden.training import evaluate_step

from .test_training import by_fractions, clip, gradient, kept, matrix, random_case


@pytest.mark.parametrize(
    ("fraction", "stay"),
    [
        (0, [1, 1, 1, 1, 1]), (0.2, [1, 0, 1, 1, 1]), (0.5, [0, 0, 1, 1, 1]),
        (0.6, [0, 0, 1, 0, 1]), (1, [0, 0, 1, 0, 0]),
    ],
)
def test_the_least_go_and_of_equal_ones_the_first(fraction, stay):
    """Squares are 5, 4, 130, 5, 20: half of five groups are two, half to even."""
    weights = np.array([[1, 2, -3, 2, -4], [2, 0, 11, -1, 2]], np.int8)
    assert kept_groups(weights, fraction, (0,)).tolist() == [bool(each) for each in stay]


def test_corners_of_bytes_do_not_wrap():
    weights = np.array([-128, 127, 0, 1], np.int8)
    assert kept_groups(weights, 0.75).tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match=r"^fraction is 1\.5; legal: 0 to 1$"):
        kept_groups(weights, 1.5)


def test_single_weights_go_layer_by_layer():
    rng = np.random.default_rng(0)
    layers = [rng.integers(-127, 128, shape).astype(np.int8) for shape in ((9, 4), (2, 3, 3, 5))]
    for mask, weights in zip(weight_masks(layers, 0.5), layers, strict=True):
        assert mask.sum() == weights.size - round(0.5 * weights.size)
        least = abs(weights[mask].astype(int)).min()
        assert abs(weights[~mask].astype(int)).max() <= least


NETWORKS = {
    "linear": Network("linear", (9,), (
        Linear("a", 9, 8, -9, True), Linear("b", 8, 6, -8), Linear("c", 6, 4, -8),
    )),
    "convolution": Network("convolution", (8, 6, 2), (
        Convolution("a", 2, 6, (3, 3), -8, True, pads=(1, 1, 1, 1)), MaxPool("p", (2, 2)),
        Convolution("b", 6, 5, (2, 2), -8), AveragePool("q", (3, 2)), Linear("c", 5, 3, -8),
    )),
    "images before rows": Network("rows", (4, 4, 1), (
        Convolution("a", 1, 5, (3, 3), -8, True), Linear("b", 20, 7, -9, True),
        Linear("c", 7, 4, -8),
    )),
}


def steps(network, weights, inputs, count=3):
    """Return logits and weights behind each of some steps."""
    graph, found = training_graph(network, len(inputs["labels"]), 4), []
    for _ in range(count):
        tensors = evaluate_step(graph, {**inputs, **weights}).tensors
        weights = {name: tensors[f"{name}:new"] for name in weights}
        found.append((tensors[LOGITS], weights))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_masked_stays_zero_by_itself_and_is_not_missed(name):
    """The network as it was, with zeros, and the one that is left, have the same steps."""
    network, rng = NETWORKS[name], np.random.default_rng(len(name))
    weights = {
        layer: rng.integers(-127, 128, shape).astype(np.int8)
        for layer, shape in network.weights.items()
    }
    inputs = {
        "images": rng.integers(-127, 128, (5, *network.images)).astype(np.int8),
        "labels": rng.integers(0, network.shapes[-1][0], 5),
    }
    masks = dict(zip(weights, filter_masks([*weights.values()], 0.5), strict=True))
    zeroed = {layer: value * masks[layer] for layer, value in weights.items()}
    left = compact_network(network, masks)
    small = {layer: compact(value, masks[layer]) for layer, value in weights.items()}
    assert {layer: value.shape for layer, value in small.items()} == left.weights
    assert sum(value.size for value in small.values()) < 0.6 * sum(m.size for m in masks.values())
    for whole, part in zip(
        steps(network, zeroed, inputs), steps(left, small, inputs), strict=True
    ):
        assert np.array_equal(whole[0], part[0])
        for layer, value in whole[1].items():
            assert not value[~masks[layer]].any()
            assert np.array_equal(expand(part[1][layer], masks[layer]), value)
            assert np.array_equal(compact(value, masks[layer]), part[1][layer])


def masked_step(images, labels, weights, masks, exponents, relus, bits):
    """NITI's step with gradients masked behind their shift, in Python's integers."""
    x, exponent, read = matrix(images.tolist()), -7, []
    for w, e, relu in zip(weights, exponents, relus, strict=True):
        read.append(x)
        x, shift = kept(x.dot(w))
        exponent += e + shift
        if relu:
            x = matrix([max(0, value) for value in x.ravel()]).reshape(x.shape)
    error, new = matrix([
        by_fractions(row.tolist(), exponent, label)
        for row, label in zip(x, labels.tolist(), strict=True)
    ]), list(weights)
    for index in reversed(range(len(weights))):
        step = gradient(read[index].T.dot(error), bits) * masks[index]
        if index:
            back, _ = kept(error.dot(weights[index].T))
            error = back * (read[index] > 0) if relus[index - 1] else back
        moved = weights[index] - step
        new[index] = matrix([clip(value) for value in moved.ravel()]).reshape(step.shape)
    return new


@pytest.mark.parametrize("bits", [1, 4, 7])
def test_masks_of_single_weights(bits):
    network, weights, images, labels = random_case(bits, (7, 9, 6, 4), 5)
    inputs = {"images": images, "labels": labels.astype(np.uint8), **weights}
    rng = np.random.default_rng(bits)
    names = [*network.weights]
    masks = {name: (rng.random(network.weights[name]) < 0.5) for name in names}
    for name in names:
        inputs[name] = inputs[name] * masks[name]
    graph = training_graph(network, 5, bits, masked=True)
    given = {f"{name}:mask": mask.astype(np.int8) for name, mask in masks.items()}
    found = evaluate_step(graph, {**inputs, **given}).tensors
    layers = network.layers
    expected = masked_step(
        inputs["images"], inputs["labels"], [matrix(inputs[n].tolist()) for n in names],
        [masks[n].astype(int).astype(object) for n in names], [each.exponent for each in layers],
        [each.relu for each in layers], bits,
    )
    for name, value in zip(names, expected, strict=True):
        assert found[f"{name}:new"].tolist() == value.tolist()
        assert not found[f"{name}:new"][~masks[name]].any()
