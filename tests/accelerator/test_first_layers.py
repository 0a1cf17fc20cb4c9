# SPDX-License-Identifier: Apache-2.0
"""Layers with few channels on the real machine: rows beside each other, pixels abreast."""

import numpy as np
import pytest

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

from ..compiler.test_beside import plans
from ..compiler.test_emit import random_work
from .board import board
from .layers import CompiledLayer, check, compile_layer
from .test_layers import MEMORIES, SKEW

CONFIGS: dict[str, AcceleratorConfig] = {
    "tiny": preset("tiny").replace(name="tiny-beside", interleave={"rows": (3, 5)}),
    "skew": SKEW.replace(name="skew-beside", interleave={"rows": (3, 7)}),
    "formats": preset("small").replace(
        name="small-beside", transposer=True, sparse={"formats": ("csc4", "bitmask")},
        interleave={"rows": (3, 5, 7)},
    ),
}
SHAPES = {
    "lenet": (2, 12, 14, 1, 6, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1)),
    "keywords": (1, 21, 10, 1, 9, (10, 4), (2, 2), (5, 1, 4, 1), (1, 1)),
    "colours": (1, 13, 13, 3, 5, (3, 3), (2, 2), (0, 0, 1, 1), (1, 1)),
    "dilated": (2, 11, 9, 2, 3, (3, 2), (1, 1), (2, 0, 2, 1), (2, 2)),
    "column": (1, 19, 1, 1, 2, (7, 1), (3, 1), (3, 0, 3, 0), (1, 1)),
}
# The model knows bursts in flight only on average; a row of ten bytes is a burst of its own.
MODEL_ERROR = {"tiny": 0.03, "skew": 0.2, "formats": 0.03}


def layers(config: AcceleratorConfig) -> list[CompiledLayer]:
    """Every shape in every way that the compiler may choose, and as it chooses."""
    made = []
    for name, shape in SHAPES.items():
        work, x = random_work(np.random.default_rng(len(name)), *shape, mixed=name == "colours")
        made.append(compile_layer(name, work, x, config))
        made += [
            compile_layer(f"{name} {number}", work, x, config, plan)
            for number, plan in enumerate(plans(work, config, (1, 2, 3)))
        ]
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_layers(name):
    made = layers(CONFIGS[name])
    jobs = [
        layer.job.but(latency=latency, stall=stall) for latency, stall in MEMORIES for layer in made
    ]
    results = iter(board(CONFIGS[name]).run(jobs))
    wrong = []
    for latency, stall in MEMORIES:
        for layer in made:
            done = next(results)
            check(layer, done, f"latency {latency} stall {stall}")
            if (latency, stall) == MEMORIES[0]:
                print(f"{layer.name}: {done.cycles} cycles, {layer.predicted} predicted")
                if abs(done.cycles - layer.predicted) > MODEL_ERROR[name] * layer.predicted + 150:
                    wrong.append(f"{layer.name}: {done.cycles} cycles, {layer.predicted} predicted")
    assert not wrong, "; ".join(wrong)
