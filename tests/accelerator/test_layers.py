# SPDX-License-Identifier: Apache-2.0
"""Layers of every kind on the real machine, with slow and stalling memories."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Reduction
from kiwicha.machine.presets import preset

from ..compiler.test_conv_transpose import between
from ..compiler.test_emit import CASES, random_work
from . import networks
from .board import board
from .layers import CompiledLayer, check, compile_layer

SKEW = AcceleratorConfig(
    name="skew", rows=3, columns=5, axi_data_width=128, axi_burst_beats=4, axi_outstanding=2,
    activation_bytes=2048, weight_bytes=512, accumulator_depth=64, output_bytes=512,
    parameter_channels=16, requantize_lanes=2, queue_words=16,
)
CONFIGS = {"tiny": preset("tiny"), "skew": SKEW}

#: (latency, stall) of the memory; the first is the one that cycles are predicted for.
MEMORIES = [(20, 0), (2, 0), (70, 100), (2, 100)]
# The model knows bursts in flight only on average; skew's two-beat bursts are nothing but latency.
MODEL_ERROR = {"tiny": 0.02, "skew": 0.08}


def layers(config: AcceleratorConfig) -> list[CompiledLayer]:
    """Return the layers of the compiler's tests: convolutions, groups, pools, mixed zero points."""
    def make(name, *shape, seed, **options):
        work, x = random_work(np.random.default_rng(seed), *shape, **options)
        return compile_layer(name, work, x, config)

    unit = ((1, 1), (1, 1))
    made = [make(name, *shape, seed=len(name)) for name, shape in CASES.items()]
    made += [
        make(f"groups{i}-{o}-{g}", 1, 6, 5, i, o, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), g, seed=i)
        for i, o, g in [(6, 6, 6), (8, 12, 4), (20, 44, 2)]
    ]
    made += [
        make(f"{pool.name}{c}-{k}", 2, 8, 9, c, c, (k, k), s, p, (1, 1), pool=pool, seed=c)
        for pool, c in (*((Reduction.MAX, c) for c in (1, 4, 19)), (Reduction.SUM, 19))
        for k, s, p in [(2, (2, 2), (0, 0, 0, 0)), (3, (2, 1), (1, 1, 1, 1))]
    ]
    shape = (1, 11, 1, 50, 21, *unit, (0, 0, 0, 0), (1, 1))
    made.append(make("zero-per-column", *shape, mixed=True, seed=5))
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_layers(name):
    made = layers(CONFIGS[name])
    jobs = [
        layer.job.but(latency=latency, stall=stall)
        for latency, stall in MEMORIES
        for layer in made
    ]
    results = iter(board(CONFIGS[name]).run(jobs))
    for latency, stall in MEMORIES:
        for layer in made:
            check(layer, next(results), f"latency {latency} stall {stall}")


@pytest.mark.parametrize("name", CONFIGS)
def test_transposed_convolutions(name):
    """Whose pixels are written apart, over what lies between them."""
    made, jobs = [], []
    for seed, (shape, weight, given) in enumerate([
        ((1, 5, 5, 4), (5, 7, 3, 3), {"strides": [2, 2], "pads": [1] * 4}),
        ((2, 6, 4, 3), (6, 1, 2, 2), {"strides": [2, 2]}),
        ((1, 4, 9), (4, 2, 5), {"strides": [3], "group": 2, "output_padding": [1]}),
    ]):
        model = between(shape, weight, bias=1, seed=seed, **given)
        graph = legalize(lower(model))
        tensors = evaluate(graph, random_inputs(graph.inputs, seed))
        prepared = networks.Prepared(graph, tensors)
        compiled, job, golden = networks.to_job(prepared, CONFIGS[name])
        made.append((prepared, compiled, golden))
        jobs.append(job)
    done = board(CONFIGS[name]).run([job.but(stall=stall) for job in jobs for stall in (0, 100)])
    for place, result in enumerate(done):
        prepared, compiled, golden = made[place // 2]
        networks.check(prepared, compiled, golden, result, f"{name} {place}")
        if place % 2 == 0:
            predicted = compiled.timeline.total
            print(f"{name} {place // 2}: {result.cycles} cycles, {predicted} predicted")
            assert abs(result.cycles - predicted) <= MODEL_ERROR[name] * predicted + 150


@pytest.mark.parametrize("name", MODEL_ERROR)
def test_cycles_are_as_predicted(name):
    made = layers(CONFIGS[name])
    latency, stall = MEMORIES[0]
    results = board(CONFIGS[name]).run([m.job.but(latency=latency, stall=stall) for m in made])
    wrong = []
    for layer, done in zip(made, results, strict=True):
        print(f"{layer.name}: {done.cycles} cycles, {layer.predicted} predicted")
        if abs(done.cycles - layer.predicted) > MODEL_ERROR[name] * layer.predicted + 100:
            wrong.append(f"{layer.name}: {done.cycles} cycles, {layer.predicted} predicted")
    assert not wrong, "; ".join(wrong)
