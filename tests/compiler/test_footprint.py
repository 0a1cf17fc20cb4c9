# SPDX-License-Identifier: Apache-2.0
"""What the compiler believes of the hardware's timing is what the hardware says of itself."""

import pytest

from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.cost.timing import queued_instructions
from kiwicha.hw.compute.compute import ComputeEngine
from kiwicha.machine.config import PIPELINE, AcceleratorConfig
from kiwicha.machine.isa import Opcode
from kiwicha.machine.presets import PRESETS, preset

SHAPES = [(1, 1), (3, 5), (5, 3), (12, 7), (2, 33)]
CONFIGS = [*PRESETS.values()] + [
    AcceleratorConfig(rows=rows, columns=columns, requantize_lanes=1) for rows, columns in SHAPES
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
@pytest.mark.parametrize("pipeline", [PIPELINE, (), *zip(PIPELINE)], ids="+".join)
def test_timing_of_compute(config: AcceleratorConfig, pipeline: tuple[str, ...]) -> None:
    config = config.replace(pipeline=pipeline)
    engine = ComputeEngine(config)
    assert minimum_pass(config, 1) == engine.interval
    assert minimum_pass(config, config.rows) == max(engine.interval, config.rows)


def test_queues() -> None:
    assert queued_instructions(preset("default"), Opcode.LOAD) == 64 // 4 + 3
    assert queued_instructions(preset("default"), Opcode.COMPUTE) == (64 + 3 + 12) // 13 + 2
