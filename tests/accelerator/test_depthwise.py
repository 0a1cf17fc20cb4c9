# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions on the real machine, whose columns filter; and those that do not."""

import numpy as np
import pytest

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Reduction
from kiwicha.machine.presets import preset

from ..compiler.test_depthwise import random_layer
from ..compiler.test_emit import random_work
from .board import board
from .layers import check, compile_layer

CONFIGS = {
    # Five lanes of three rows, wide beats, hardly any memory; tall; with all registers and without.
    "skew": AcceleratorConfig(
        name="depthwise-skew", rows=3, columns=5, axi_data_width=128, axi_burst_beats=4,
        axi_outstanding=2, activation_bytes=4096, weight_bytes=512, accumulator_depth=64,
        output_bytes=1024, parameter_channels=16, requantize_lanes=2, queue_words=16,
        depthwise=True,
    ),
    "tall": preset("tiny").replace(name="depthwise-tall", rows=9, depthwise=True, pipeline=()),
    "small": preset("small").replace(name="depthwise-small", depthwise=True, cells="ecp5"),
}
MEMORIES = [(20, 0), (2, 100)]


def layers(config: AcceleratorConfig):
    """Return layers of any kernel, stride, pads and dilation; sums over windows; a channel
    multiplier and mixed zero points, which take the diagonal."""
    made = []
    for seed in range(16):
        work, x = random_layer(seed)
        made.append(compile_layer(f"seed {seed}", work, x, config))
    rng = np.random.default_rng(1)
    for kernel, strides in (((3, 3), (2, 1)), ((8, 9), (1, 1))):
        shape = (2, 8, 9, 13, 13, kernel, strides, (0, 0, 0, 0), (1, 1))
        work, x = random_work(rng, *shape, pool=Reduction.SUM)
        made.append(compile_layer(f"sums of {kernel}", work, x, config))
    shape = ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    for outputs, groups, mixed in ((12, 6, False), (6, 6, True), (7, 1, False)):
        work, x = random_work(rng, 1, 6, 5, 6, outputs, *shape, groups, mixed=mixed)
        made.append(compile_layer(f"{outputs} of 6 in {groups}", work, x, config))
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_layers(name):
    config = CONFIGS[name]
    made = layers(config)
    jobs = [
        layer.job.but(latency=latency, stall=stall)
        for latency, stall in MEMORIES
        for layer in made
    ]
    results = iter(board(config).run(jobs))
    for latency, stall in MEMORIES:
        for layer in made:
            check(layer, next(results), f"latency {latency} stall {stall}")
