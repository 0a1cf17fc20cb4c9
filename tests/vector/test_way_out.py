# SPDX-License-Identifier: Apache-2.0
"""Sums and functions on VECTOR's way out, together with all else that it does."""

import pytest

from kiwicha.hw.vector.modes import vector_modes
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.isa import VectorMode

from ..support.bench import run_cocotb
from . import test_vector


@pytest.mark.parametrize("columns,lanes,width,tables,more", [
    (4, 1, 64, 2, {}), (8, 3, 256, 8, {}), (6, 3, 128, 4, {"pipeline": ()}),
    (8, 2, 64, 2, {"dynamic": True, "blocks": {"channels": 8}, "statistics": {"elements": 1024}}),
])
def test_functions(columns, lanes, width, tables, more):
    cfg = test_vector.machine(columns, lanes, width, functions={"tables": tables}, **more)
    modes = [*vector_modes(cfg), VectorMode.REQUANTIZE, VectorMode.REQUANTIZE]
    params = {"config": cfg.to_dict(), "seed": 13, "count": 60, "modes": modes}
    run_cocotb(
        VectorEngine(cfg), test_vector.__name__, testcase="equals_golden", params=params
    )


@pytest.mark.parametrize("columns,lanes,width,mode,offer,more", [
    (4, 1, 64, "onnx", "always", {}), (6, 3, 128, "shift", "random", {"pipeline": ()}),
    (8, 8, 64, "onnx", "bursty", {"functions": {"tables": 2}}),
    (8, 2, 64, "onnx", "random", {
        "dynamic": True, "blocks": {"channels": 8}, "statistics": {"elements": 1024},
        "functions": {"tables": 4},
    }),
])
def test_sums(columns, lanes, width, mode, offer, more):
    cfg = test_vector.machine(columns, lanes, width, mode, residual={"tables": 2}, **more)
    modes = [*vector_modes(cfg), VectorMode.REQUANTIZE, VectorMode.REQUANTIZE]
    params = {"config": cfg.to_dict(), "seed": 17, "count": 60, "modes": modes, "offer": offer}
    run_cocotb(
        VectorEngine(cfg), test_vector.__name__, testcase="equals_golden", params=params
    )


def test_sums_cost_nothing_where_there_are_none():
    """Throughput and latency of other results are those of a machine without them."""
    cfg = test_vector.machine(8, 3, 64)
    unit = VectorEngine(cfg)
    test_vector.run(cfg.replace(residual={"tables": 2}), cost=unit.latency, interval=unit.interval)
