# SPDX-License-Identifier: Apache-2.0
"""Poolings on the real machine: maxima that convolutions compute on their way out, with slow and
stalling memories, and averages of whole images as products of ones."""

import numpy as np
import pytest

from kiwicha.compiler.emit import pools
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

from ..compiler.test_average_pool import pooled as averaged
from ..compiler.test_average_product import by_product
from ..compiler.test_pools_out import FUSED, S8, model, read_twice
from . import networks
from .board import board

CONFIGS = {
    "tiny": preset("tiny").replace(
        name="tiny-pooling", transposer=True, pooling={"window": 5}, functions={"tables": 2},
        special={"lanes": 1, "bytes": 1024},
    ),
    # As many lanes as columns, no registers for the clock, small memories.
    "short": AcceleratorConfig(
        name="short-pooling", rows=3, columns=5, axi_data_width=128, axi_burst_beats=4,
        activation_bytes=4096, weight_bytes=512, accumulator_depth=128, output_bytes=1024,
        parameter_channels=16, requantize_lanes=5, queue_words=16, pooling={"window": 4},
        pipeline=(),
    ),
}
MODEL_ERROR = 0.02
NAMES = {
    "tiny": [*FUSED], "short": ["2x2", "3x3-2", "3x3-2-padded", "3x3-2-ceil", "2x2-3", "strided"],
}


def prepared(made, seed=1, samples=1):
    graph = legalize(lower(made, samples))
    return networks.Prepared(graph, evaluate(graph, random_inputs(graph.inputs, seed)))


@pytest.mark.parametrize("name", CONFIGS)
def test_maxima_on_the_way_out(name, monkeypatch):
    monkeypatch.setattr(pools, "_is_worth", lambda *_: True)
    config, cases = CONFIGS[name], []
    for case in NAMES[name]:
        build, count = FUSED[case]
        shape = (3, 13, 12) if case in ("3x3-2", "2x2-3") else (3, 11, 10)
        for form in (S8, None) if case in ("2x2", "3x3-2-padded") else (None,):
            given = model(build, shape, form) if form else model(build, shape)
            ready = prepared(given, samples=1 + (case in ("2x2", "grouped")))
            compiled, job, golden = networks.to_job(ready, config)
            fused = [layer for layer in compiled.layers if "Conv + " in layer.op]
            assert len(fused) == count, case
            cases.append((f"{name} {case}", ready, compiled, job, golden))
    jobs = [
        job.but(latency=latency, stall=stall)
        for latency, stall in ((20, 0), (2, 100), (70, 100)) for *_, job, _ in cases
    ]
    for place, done in enumerate(board(config).run(jobs)):
        where, ready, compiled, _, golden = cases[place % len(cases)]
        networks.check(ready, compiled, golden, done, where)
        if place < len(cases):
            total = compiled.timeline.total
            print(f"{where}: {done.cycles} cycles, {total} predicted")
            assert abs(done.cycles - total) <= MODEL_ERROR * total + 100, where


def test_others_and_averages():
    """What is read by others is written; a row of ones sums whole images up."""
    config = CONFIGS["tiny"]
    quantized = (0.1, np.int8(-128)), (0.05, np.int8(127))
    means = [
        prepared(averaged("QOperator", shape, quantized, "GlobalAveragePool"))
        for shape in ([1, 18, 9, 7], [2, 5, 6, 6], [1, 40, 3, 3])
    ]
    assert by_product(means[0].graph, config)
    cases = [prepared(model(read_twice)), *means]
    made = [networks.to_job(case, config) for case in cases]
    results = board(config).run([job for _, job, _ in made])
    for case, (compiled, _, golden), done in zip(cases, made, results, strict=True):
        networks.check(case, compiled, golden, done, case.graph.nodes[-1].name)
        total = compiled.timeline.total
        assert abs(done.cycles - total) <= MODEL_ERROR * total + 100
