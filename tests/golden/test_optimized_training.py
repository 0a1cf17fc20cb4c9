# SPDX-License-Identifier: Apache-2.0
"""Steps whose weights an optimizer moves, written down a second time in Python's integers and
fractions, and their gradients against those of the network in binary64."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from kiwicha.compiler.graph.trainable import AveragePool, Convolution, Linear, Network
from kiwicha.compiler.graph.training import training_graph
from kiwicha.golden.training import evaluate_step
from kiwicha.sim.training.learner import Learner
from kiwicha.sim.training.optimizer import Optimizer
from kiwicha.sim.training.plan import Data, Plan
from kiwicha.sim.training.task import NetworkTask

from .test_niti import by_fractions
from .test_optimizer import nearest, one, within
from .test_training import kept, matrix, random_case

UNIT = Fraction(1, 1 << 21)  # of gradients: Q1.23 that are below 4


def power(exponent):
    return Fraction(2) ** exponent


def gradients(images, labels, weights, exponents, relus):
    """Return each layer's gradient as fractions of integers: the mean over the images."""
    x, e, read = matrix(images.tolist()), -7, []
    for w, unit, relu in zip(weights, exponents, relus, strict=True):
        read.append((x, e))
        x, shift = kept(x.dot(w))
        e += unit + shift
        if relu:
            x = matrix([max(0, value) for value in x.ravel()]).reshape(x.shape)
    rows = [by_fractions(r.tolist(), e, label) for r, label in zip(x, labels.tolist(), strict=True)]
    error, unit, found = matrix(rows), power(-7) / len(images), [None] * len(weights)
    for index in reversed(range(len(weights))):
        made, shift = kept(read[index][0].T.dot(error))
        found[index] = made * (power(read[index][1] + shift) * unit)
        if index:
            error, shift = kept(error.dot(weights[index].T))
            unit *= power(exponents[index] + shift)
            if relus[index - 1]:
                error = error * (read[index][0] > 0)
    return found


def fixed(value, flags, edge=1 << 23):
    """A gradient in its format."""
    return within(floor(value / UNIT + Fraction(1, 2)), -edge, edge - 1, flags)


def task_of(seed, sizes, batch, scale):
    network, weights, images, labels = random_case(seed, sizes, batch, scale)
    data = Data(images, labels, images, labels, sizes[-1])
    return NetworkTask(network, weights), data


def word_of(optimizer, learner, place):
    """The rate that the register says, as a fraction of its unit."""
    rate = int(learner.rates[place])
    return {"c5": rate & 0x1FFFF, "more": rate >> 17}


@pytest.mark.parametrize("name", ["sgd", "momentum", "adagrad", "rmsprop", "adam"])
@pytest.mark.parametrize(("sizes", "batch", "several", "rate"), [
    ((5, 3), 1, 1, 0.02), ((9, 7, 4), 4, 1, 0.01), ((6, 5, 5, 3), 2, 3, 0.06),
    ((7, 6, 3), 4, 4, 0.0625),
])
def test_steps(name, sizes, batch, several, rate):
    optimizer = Optimizer(name=name, rates=(rate,), decay=2.0**-8, accumulate=several)
    task, data = task_of(len(sizes), sizes, batch, 120)
    learner = Learner(task, Plan(batch, 12, optimizer=optimizer), data)
    formats = optimizer.formats(task.units)
    layers = task.network.layers
    codes = [matrix(task.weights[layer.name].tolist()) for layer in layers]
    state = [[(w << 24, 0, 0) for w in each.ravel()] for each in codes]
    sums = [[0] * each.size for each in codes]
    saturated = 0
    for place in range(12):
        made = learner.step(place, 0, np.arange(batch))
        rates, last = word_of(optimizer, learner, place), place % several == several - 1
        found = gradients(
            data.images, data.labels, codes, [layer.exponent for layer in layers],
            [layer.relu for layer in layers],
        )
        over = 0
        for index, layer in enumerate(layers):
            fields = formats[layer.name].fields | {"c5": rates["c5"]}
            fields |= {"rate_shift": min(31, fields["rate_shift"] + rates["more"])}
            for position, value in enumerate(found[index].ravel()):
                flags = []
                if several == 1:
                    # What does not fit is noted in the step.
                    g, shift = fixed(value, flags, 1 << 60), 0
                    assert not any(flags)
                else:
                    a = fixed(value, flags, 1 << 31)
                    before = sums[index][position] if place % several else 0
                    g = sums[index][position] = within(
                        before + a, -(1 << 31), (1 << 31) - 1, flags
                    )
                    over += any(flags)
                    shift = several.bit_length() - 1
                if not last:
                    continue
                *values, code, wide = one(
                    fields | {"gradient_shift": shift}, *state[index][position], g
                )
                state[index][position] = tuple(values)
                codes[index].ravel()[position] = code
                over += wide
        saturated += over
        assert made.result.saturated == over
        for layer, each in zip(layers, codes, strict=True):
            assert learner.weights[layer.name].tolist() == each.tolist(), (place, layer.name)
        for layer, each in zip(layers, state, strict=True):
            w, *moments = learner.kept[f"{layer.name}:state"].tolist()
            assert w == [value[0] for value in each]
            assert all(m in ([v[1] for v in each], [v[2] for v in each]) for m in moments)
    assert saturated < 12 * sum(each.size for each in codes)


def test_nearest_is_half_up():
    assert [nearest(value, 1) for value in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


def shadow(network, weights, images, labels):
    """Return the gradients of the mean cross-entropy in binary64, by differences."""
    real = {
        layer.name: np.ldexp(weights[layer.name].astype(np.float64), layer.exponent)
        for layer in network.layers if hasattr(layer, "inputs")
    }

    def loss(changed):
        x = images / 128.0
        for layer in network.layers:
            w = changed.get(layer.name)
            if isinstance(layer, Convolution):
                rows, columns = layer.kernel
                size = [x.shape[1] - rows + 1, x.shape[2] - columns + 1]
                x = sum(
                    x[:, r : r + size[0], c : c + size[1]] @ w[:, r, c]
                    for r in range(rows) for c in range(columns)
                )
            elif isinstance(layer, AveragePool):
                n, height, width, channels = x.shape
                rows, columns = layer.kernel
                x = x.reshape(n, height // rows, rows, width // columns, columns, channels)
                x = x.mean(axis=(2, 4))
            else:
                x = x.reshape(len(x), -1) @ w
            x = np.maximum(x, 0) if layer.relu else x
        x = x - x.max(axis=1, keepdims=True)
        return (np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(x)), labels]).mean()

    found = {}
    for name, w in real.items():
        slope = np.zeros_like(w)
        for place in np.ndindex(w.shape):
            step = np.zeros_like(w)
            step[place] = 1e-5
            slope[place] = (loss({**real, name: w + step}) - loss({**real, name: w - step})) / 2e-5
        found[name] = slope
    return found


NETWORKS = {
    "linear": Network("linear", (12,), (
        Linear("a", 12, 10, -7, True), Linear("b", 10, 8, -7, True), Linear("c", 8, 4, -6),
    )),
    "convolution": Network("convolution", (6, 6, 1), (
        Convolution("a", 1, 4, (3, 3), -7, True), AveragePool("p", (2, 2)), Linear("c", 16, 4, -7),
    )),
}


@pytest.mark.parametrize("which", NETWORKS)
def test_gradients_are_those_of_the_real_network(which):
    """Exponents are right where sizes are: a factor of two would be seen."""
    network, rng = NETWORKS[which], np.random.default_rng(5)
    weights = {
        name: rng.integers(-64, 65, shape).astype(np.int8)
        for name, shape in network.weights.items()
    }
    images = rng.integers(-127, 128, (16, *network.images)).astype(np.int8)
    labels = rng.integers(0, 4, 16)
    data = Data(images, labels, images, labels, 4)
    plan = Plan(16, 1, optimizer=Optimizer(name="sgd", rates=(0.01,)))
    learner = Learner(NetworkTask(network, weights), plan, data)
    result = evaluate_step(learner.graphs[0], learner.inputs(np.arange(16)), 0)
    units = {
        node.updates.name: sum(result.exponents[t.name] for t in node.exponents)
        + (-11 if len(node.exponents) == 1 else 0)
        for node in learner.graphs[0].nodes if node.kind == "update"
    }
    for name, real in shadow(network, weights, images, labels).items():
        codes = result.tensors[f"{name}:gradient"].astype(np.float64)
        ours = np.ldexp(codes, units[name])
        likeness = (ours * real).sum() / np.sqrt((ours**2).sum() * (real**2).sum())
        assert likeness > 0.9, name
        assert 0.7 < np.linalg.norm(ours) / np.linalg.norm(real) < 1.4, name


def test_nitis_step_is_as_it_was():
    """What optimizers need of the graph changes nothing for who has none."""
    network = NETWORKS["linear"]
    kinds = {node.kind for node in training_graph(network, 4, 5).nodes}
    assert kinds.isdisjoint({"update", "keep"})
