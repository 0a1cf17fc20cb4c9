# SPDX-License-Identifier: Apache-2.0
"""Sums of branches in steps of training, written down a second time in Python's integers, and the
real values that they stand for."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from kiwicha.compiler.graph.trainable import Bias, Clip, Linear, Network, Residual
from kiwicha.compiler.graph.training import training_graph
from kiwicha.golden.training import evaluate_step

from .test_niti import by_fractions
from .test_training import ceil_log2, clip, gradient, matrix


def half_up(value, shift):
    return floor(Fraction(int(value)) / 2**shift + Fraction(1, 2))


def settle(acc, exponent, least=None):
    """Shift sums until seven bits remain, and on until their exponent is ``least``."""
    shift = max(0, ceil_log2(max(abs(value) for value in acc.ravel())) - 7)
    if least is not None:
        shift = max(shift, least - exponent)
    numbers = [clip(half_up(value, shift)) for value in acc.ravel()]
    return matrix(numbers).reshape(acc.shape), exponent + shift


def add(body, shortcut):
    """The sum of what has the greater exponent, and of another that is shifted to it."""
    (a, exponent), (b, before) = body, shortcut
    b = matrix([half_up(value, exponent - before) for value in b.ravel()]).reshape(b.shape)
    return settle(a + b, exponent)


def positive(pair):
    return matrix([max(0, value) for value in pair[0].ravel()]).reshape(pair[0].shape), pair[1]


def case(seed, shortcut):
    rng = np.random.default_rng(seed)
    e = {name: int(rng.integers(-12, -3)) for name in "abcdg"}
    branch = (Linear("d", 7, 7, e["d"]),) if shortcut else ()
    network = Network("sums", (5,), (
        Linear("a", 5, 7, e["a"], True),
        Residual("r", (Linear("b", 7, 6, e["b"], True), Linear("c", 6, 7, e["c"])), branch, True),
        Linear("g", 7, 4, e["g"]),
    ))
    scale = int(rng.choice((3, 127)))
    weights = {
        name: rng.integers(-scale, scale + 1, shape).astype(np.int8)
        for name, shape in network.weights.items()
    }
    images = rng.integers(-127, 128, (3, 5)).astype(np.int8)
    return network, weights, e, images, rng.integers(0, 4, 3)


def reference(weights, e, images, labels, bits):
    """A step: logits and their exponent, error of what the sum reads, new weights."""
    w = {name: matrix(value.tolist()) for name, value in weights.items()}

    def through(pair, name, least=None):
        return settle(pair[0].dot(w[name]), pair[1] + e[name], least)

    def back(pair, name, least=None):
        return settle(pair[0].dot(w[name].T), pair[1] + e[name], least)

    def masked(pair, by):
        return pair[0] * (by[0] > 0), pair[1]

    images = matrix(images.tolist()), -7
    a = positive(through(images, "a"))
    shortcut = through(a, "d") if "d" in w else a
    b = positive(through(a, "b"))
    r = positive(add(through(b, "c", shortcut[1]), shortcut))
    logits = through(r, "g")
    error = matrix([
        by_fractions(row.tolist(), logits[1], label)
        for row, label in zip(logits[0], labels.tolist(), strict=True)
    ]), -7
    errors = {"g": error, "c": masked(back(error, "g"), r)}
    errors["d"] = errors["c"]
    shortcut = back(errors["d"], "d") if "d" in w else errors["c"]
    errors["b"] = masked(back(errors["c"], "c"), b)
    errors["a"] = masked(add(back(errors["b"], "b", shortcut[1]), shortcut), a)
    read = {"a": images, "b": a, "c": b, "d": a, "g": r}
    new = {}
    for name, value in w.items():
        step = gradient(read[name][0].T.dot(errors[name][0]), bits)
        new[name] = matrix([clip(v) for v in (value - step).ravel()]).reshape(step.shape)
    return logits, errors["a"], new


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_step(seed, shortcut):
    network, weights, e, images, labels = case(seed, shortcut)
    bits = 1 + seed % 7
    inputs = {"images": images, "labels": labels.astype(np.uint8), **weights}
    found = evaluate_step(training_graph(network, 3, bits), inputs)
    logits, error, new = reference(weights, e, images, labels, bits)
    assert found.tensors["logits"].tolist() == logits[0].tolist()
    assert found.exponents["logits"] == logits[1]
    assert found.tensors["a:e"].tolist() == error[0].tolist()
    assert found.exponents["a:e"] == error[1]
    for name, expected in new.items():
        assert found.tensors[f"{name}:new"].tolist() == expected.tolist()


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_values_are_those_of_real_numbers(seed, shortcut):
    """Results and errors differ from what real arithmetic makes of the same operands by what three
    roundings may add up to; the derivative is taken by differences."""
    network, weights, e, images, labels = case(seed, shortcut)
    inputs = {"images": images, "labels": labels.astype(np.uint8), **weights}
    found = evaluate_step(training_graph(network, 3, 5), inputs)
    real = {
        name: np.ldexp(value.astype(float), found.exponents.get(name, 0))
        for name, value in found.tensors.items()
    }
    w = {name: np.ldexp(value.astype(float), e[name]) for name, value in weights.items()}
    kept = real["b:y"] > 0

    def total(a):
        """The sum, with the activation behind b passing what it has passed."""
        return (a @ w["b"] * kept) @ w["c"] + (a @ w["d"] if shortcut else a)

    unit = 2.0 ** found.exponents["r:y"]
    branch = real["c:y"] + (real["d:y"] if shortcut else real["a:y"])
    assert np.abs(real["r:y"] - np.maximum(branch, 0)).max() <= unit
    # Errors: the derivative of sum(error * total) by each element of what both branches read.
    made = np.zeros_like(real["a:y"])
    for place in np.ndindex(made.shape):
        step = np.zeros_like(made)
        step[place] = 1
        made[place] = ((total(step) - total(0 * step)) * real["r:e"]).sum()
    unit = 2.0 ** found.exponents["a:e"]
    slack = unit + (2.0 ** (found.exponents["b:e"] - 1)) * np.abs(w["b"]).sum(axis=1)
    error = made * (real["a:y"] > 0)
    assert (np.abs(real["a:e"] - error) <= slack * 1.0001).all()


@pytest.mark.parametrize("seed", range(20))
def test_bias(seed):
    """A number for each channel, of an exponent above or below that of what it is added to."""
    rng = np.random.default_rng(seed)
    e = {"a": int(rng.integers(-12, -3)), "b": int(rng.integers(-16, 4)), "g": -8}
    network = Network("bias", (5,), (
        Linear("a", 5, 7, e["a"]), Bias("b", 7, e["b"], True), Linear("g", 7, 4, e["g"]),
    ))
    weights = {
        name: rng.integers(-127, 128, shape).astype(np.int8)
        for name, shape in network.weights.items()
    }
    images, labels = rng.integers(-127, 128, (3, 5)).astype(np.int8), rng.integers(0, 4, 3)
    bits = 1 + seed % 7
    found = evaluate_step(
        training_graph(network, 3, bits),
        {"images": images, "labels": labels.astype(np.uint8), **weights},
    )
    w = {name: matrix(value.tolist()) for name, value in weights.items()}
    read = matrix(images.tolist())
    a, exponent = settle(read.dot(w["a"]), e["a"] - 7)
    moved = max(exponent, e["b"])
    a = matrix([half_up(v, moved - exponent) for v in a.ravel()]).reshape(a.shape)
    row = matrix([half_up(v, moved - e["b"]) for v in w["b"]])
    b = positive(settle(a + row[None, :], moved))
    logits = settle(b[0].dot(w["g"]), b[1] + e["g"])
    error = matrix([
        by_fractions(each.tolist(), logits[1], label)
        for each, label in zip(logits[0], labels.tolist(), strict=True)
    ])
    back = settle(error.dot(w["g"].T), 0)[0] * (b[0] > 0)
    assert found.tensors["logits"].tolist() == logits[0].tolist()
    assert found.exponents["logits"] == logits[1]
    for name, acc in (("a", read.T.dot(back)), ("b", back.sum(axis=0)), ("g", b[0].T.dot(error))):
        step = gradient(acc, bits)
        new = matrix([clip(v) for v in (w[name] - step).ravel()]).reshape(step.shape)
        assert found.tensors[f"{name}:new"].tolist() == new.tolist()


@pytest.mark.parametrize("low", [-40, 0, 7])
@pytest.mark.parametrize("relu", [False, True])
def test_clip(low, relu):
    """Bounds of numbers; an error passes where a result is neither, and Relu has not cut it off."""
    rng = np.random.default_rng(low + 100)
    network = Network("clip", (5,), (
        Linear("a", 5, 30, -8, relu), Clip("b", low, 60), Linear("g", 30, 4, -8),
    ))
    weights = {
        name: rng.integers(-127, 128, shape).astype(np.int8)
        for name, shape in network.weights.items()
    }
    inputs = {
        "images": rng.integers(-127, 128, (3, 5)).astype(np.int8),
        "labels": np.array([0, 1, 2], np.uint8), **weights,
    }
    found = evaluate_step(training_graph(network, 3, 3), inputs).tensors
    assert {max(low, 0) if relu else low, 60} <= set(found["b:y"].ravel().tolist())
    for a, b, before, after in zip(*(
        found[name].ravel().tolist() for name in ("a:y", "b:y", "b:e", "a:e")
    ), strict=True):
        assert b == max(low, min(60, a))
        cut = b in (low, 60) or (relu and a == 0)
        assert after == (0 if cut else before)
