# SPDX-License-Identifier: Apache-2.0
"""Steps of training against NITI's formulas written down a second time, and whether it learns."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from kiwicha.compiler.graph.trainable import Linear, Network
from kiwicha.compiler.graph.training import training_graph
from kiwicha.golden.training import evaluate_step, loss_of

from .test_niti import by_fractions, pseudo


def ceil_log2(number):
    power = 0
    while 2**power < number:
        power += 1
    return power


def clip(number, low=-127):
    return max(low, min(127, number))


def matrix(rows):
    return np.array(rows, dtype=object)


def kept(acc, bits=7):
    """Shift sums of Python's integers until seven bits remain; returns numbers and the shift."""
    shift = max(0, ceil_log2(max(abs(value) for value in acc.ravel())) - bits)
    half = Fraction(1, 2)
    shifted = [clip(floor(Fraction(value, 2**shift) + half)) for value in acc.ravel()]
    return matrix(shifted).reshape(acc.shape), shift


def gradient(acc, bits):
    length = ceil_log2(max(abs(value) for value in acc.ravel()))
    if length == 0:
        return acc * 0
    shift = max(0, length - bits)
    return matrix([clip(pseudo(value, shift)) for value in acc.ravel()]).reshape(acc.shape)


def reference_step(images, labels, weights, exponents, relus, bits):
    """NITI's algorithm for layers without bias: returns the logits and the new weights."""
    x, exponent, read = matrix(images.tolist()), -7, []
    for w, e, relu in zip(weights, exponents, relus, strict=True):
        read.append(x)
        x, shift = kept(x.dot(w))
        exponent += e + shift
        if relu:
            x = matrix([max(0, value) for value in x.ravel()]).reshape(x.shape)
    logits = x
    rows = [
        by_fractions(row.tolist(), exponent, label)
        for row, label in zip(logits, labels.tolist(), strict=True)
    ]
    error, new = matrix(rows), list(weights)
    for index in reversed(range(len(weights))):
        step = gradient(read[index].T.dot(error), bits)
        if index:
            back, _ = kept(error.dot(weights[index].T))
            error = back * (read[index] > 0) if relus[index - 1] else back
        updated = weights[index] - step
        new[index] = matrix([clip(value) for value in updated.ravel()]).reshape(step.shape)
    return logits, exponent, new


def random_case(seed, sizes, batch, scale=127):
    rng = np.random.default_rng(seed)
    layers, weights = [], {}
    for index, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
        name = f"fc{index}"
        relu = index < len(sizes) - 2
        layers.append(Linear(name, inputs, outputs, int(rng.integers(-10, -4)), relu))
        weights[name] = rng.integers(-scale, scale + 1, (inputs, outputs)).astype(np.int8)
    images = rng.integers(-127, 128, (batch, sizes[0])).astype(np.int8)
    labels = rng.integers(0, sizes[-1], batch)
    return Network("random", sizes[:1], tuple(layers)), weights, images, labels


@pytest.mark.parametrize(
    ("sizes", "batch"), [((5, 3), 1), ((9, 7, 4), 3), ((17, 8, 6, 10), 5), ((3, 2, 2), 2)]
)
@pytest.mark.parametrize("bits", [1, 3, 5, 7])
@pytest.mark.parametrize("scale", [1, 127])
def test_step(sizes, batch, bits, scale):
    network, weights, images, labels = random_case(bits, sizes, batch, scale)
    graph = training_graph(network, batch, bits)
    found = evaluate_step(graph, {"images": images, "labels": labels.astype(np.uint8), **weights})
    layers = network.layers
    logits, exponent, new = reference_step(
        images, labels, [matrix(weights[layer.name].tolist()) for layer in layers],
        [layer.exponent for layer in layers], [layer.relu for layer in layers], bits,
    )
    assert found.tensors["logits"].tolist() == logits.tolist()
    assert found.exponents["logits"] == exponent
    for layer, expected in zip(layers, new, strict=True):
        assert found.tensors[f"{layer.name}:new"].tolist() == expected.tolist()


def test_loss():
    logits = np.array([[64, 0, -64], [1, 2, 3]], np.int8)
    real = logits * 2.0**-5
    share = np.exp(real) / np.exp(real).sum(axis=1, keepdims=True)
    assert loss_of(logits, -5, [0, 2]) == pytest.approx(-np.log(share[[0, 1], [0, 2]]).mean())


def clusters(rng, count):
    """Points around twelve centres, three for each of four classes: no plane divides them."""
    centres = np.random.default_rng(0).uniform(-1, 1, (12, 16))
    which = rng.integers(0, 12, count)
    points = centres[which] + rng.normal(0, 0.15, (count, 16))
    return np.rint(np.clip(points, -1, 1) * 127).astype(np.int8), which % 4


def test_it_learns():
    """Guessing is right one time in four; the better of one layer and guessing stays far below."""
    rng = np.random.default_rng(1)
    network, weights, _, _ = random_case(2, (16, 32, 4), 1, scale=90)
    held, held_labels = clusters(rng, 200)
    for step in range(150):
        images, labels = clusters(rng, 32)
        graph = training_graph(network, 32, 5 if step < 100 else 3)
        inputs = {"images": images, "labels": labels.astype(np.uint8), **weights}
        tensors = evaluate_step(graph, inputs).tensors
        weights = {name: tensors[f"{name}:new"] for name in weights}
    graph = training_graph(network, 200, 1)
    inputs = {"images": held, "labels": held_labels.astype(np.uint8), **weights}
    right = evaluate_step(graph, inputs).tensors["logits"].argmax(axis=1) == held_labels
    assert right.mean() > 0.9
