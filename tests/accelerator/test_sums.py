# SPDX-License-Identifier: Apache-2.0
"""Residual sums on the real machine, on the way out of the layer before: bits, cycles."""


import pytest

from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset
from kiwicha.models.quantize import DEFAULT, Form

from ..compiler.test_sums_out import block, bottleneck, model, projection
from .board import board
from .networks import Prepared, check, to_job

CONFIG = preset("tiny").replace(
    name="sums", rows=5, columns=6, requantize_lanes=2, accumulator_depth=128, weight_bytes=2048,
    special={"lanes": 1, "bytes": 512}, functions={"tables": 2}, residual={"tables": 2},
)
OTHER = CONFIG.replace(
    name="other-sums", rows=4, columns=8, requantize_lanes=5, axi_data_width=128, pipeline=(),
)
MEMORIES = [(20, 0), (70, 100)]
FORMS = {"uint8": DEFAULT, "int8": Form(activations="s8")}


@pytest.mark.parametrize("config", [CONFIG, OTHER], ids=["5x6", "4x8"])
def test_sums(config):
    work = {}
    for name, form in FORMS.items():
        for build in (block, projection, bottleneck):
            for samples in (1, 3) if build is block else (1,):
                graph = legalize(lower(model(build, form=form), samples))
                given = random_inputs(graph.inputs, samples)
                each = Prepared(graph, evaluate(graph, given))
                made = work[f"{name} {build.__name__} of {samples}"] = each, *to_job(each, config)
                assert sum("Add" in layer.op for layer in made[1].layers) > 0
                assert not any(layer.node.kind == "add" and len(layer.nodes) == 1
                               for layer in made[1].layers)
    results = iter(board(config).run([
        job.but(latency=latency, stall=stall)
        for latency, stall in MEMORIES for _, _, job, _ in work.values()
    ]))
    for latency, stall in MEMORIES:
        for name, (each, compiled, _, golden) in work.items():
            done = next(results)
            check(each, compiled, golden, done, f"{name}, latency {latency} stall {stall}")
            predicted = compiled.timeline.total
            print(f"{name}: {done.cycles} cycles, {predicted} predicted")
            if (latency, stall) == MEMORIES[0]:
                assert abs(done.cycles - predicted) < 0.05 * predicted + 60, name
