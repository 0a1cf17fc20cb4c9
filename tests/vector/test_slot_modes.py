# SPDX-License-Identifier: Apache-2.0
"""The VECTOR engine of machines that learn: RANGE and SHIFT among all other modes."""

import pytest

from kiwicha.hw.vector.modes import vector_modes
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.isa import VectorMode

from ..support.bench import run_cocotb
from ..support.slow import slow
from . import test_vector
from .shift_cases import TRAINING


@slow("4-1-64-onnx-always-more0", "8-2-64-onnx-random-more3")
@pytest.mark.parametrize("columns,lanes,width,mode,offer,more", [
    (4, 1, 64, "onnx", "always", {}), (6, 3, 128, "shift", "random", {"pipeline": ()}),
    (8, 8, 64, "shift", "bursty", {}),
    (8, 2, 64, "onnx", "random", {
        "dynamic": True, "blocks": {"channels": 8}, "statistics": {"elements": 1024},
        "functions": {"tables": 4}, "pooling": {"window": 3},
    }),
])
def test_every_mode(columns, lanes, width, mode, offer, more):
    cfg = test_vector.machine(columns, lanes, width, mode, **TRAINING, **more)
    modes = [*vector_modes(cfg), *[VectorMode.RANGE, VectorMode.SHIFT, VectorMode.SHIFT] * 2]
    params = {"config": cfg.to_dict(), "seed": 23, "count": 45, "modes": modes, "offer": offer}
    run_cocotb(
        VectorEngine(cfg), test_vector.__name__, testcase="equals_golden", params=params
    )


def test_every_mode_of_a_short_pipeline():
    cfg = test_vector.machine(
        8, 2, 64, dynamic=True, blocks={"channels": 8}, statistics={"elements": 1024}, pipeline=(),
    )
    params = {"config": cfg.to_dict(), "seed": 9, "count": 30}
    params["modes"] = [*vector_modes(cfg), VectorMode.MEASURE, VectorMode.QUANTIZE]
    run_cocotb(
        VectorEngine(cfg), test_vector.__name__, testcase="equals_golden", params=params
    )


@pytest.mark.parametrize("more", [
    {"pipeline": (), "mode": "shift"},
    {"dynamic": True, "functions": {"tables": 2}, "statistics": {"elements": 256}},
], ids=["short", "more"])
def test_latencies(more):
    cfg = test_vector.machine(6, 3, 64, **TRAINING, **more)
    run_cocotb(
        VectorEngine(cfg), test_vector.__name__, testcase="every_mode_answers_when_stated",
        params={"config": cfg.to_dict(), "seed": 3},
    )


def test_throughput_is_that_of_other_machines():
    cfg = test_vector.machine(8, 3, 64)
    unit = VectorEngine(cfg)
    test_vector.run(cfg.replace(**TRAINING), cost=unit.latency, interval=unit.interval)
