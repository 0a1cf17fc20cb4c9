# SPDX-License-Identifier: Apache-2.0
"""VECTOR with windows of accumulators: the golden bits beside every other mode, a cycle an entry,
and no result later than without."""

import pytest

from kiwicha.hw.vector.modes import vector_modes
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.isa import VectorMode

from ..support.bench import run_cocotb
from . import test_vector
from .test_vector import machine, run


@pytest.mark.parametrize("columns,lanes,width,size,more", [
    (4, 1, 64, 2, {}), (8, 8, 64, 3, {}), (8, 3, 128, 15, {"pipeline": ()}),
    (4, 4, 64, 4, {"pipeline": ()}), (6, 2, 64, 3, {"functions": {"tables": 2}}),
    (8, 2, 64, 3, {"dynamic": True, "blocks": {"channels": 8}, "statistics": {"elements": 1024}}),
])
def test_windows(columns, lanes, width, size, more):
    cfg = machine(columns, lanes, width, pooling={"window": size}, **more)
    modes = [*vector_modes(cfg), VectorMode.REQUANTIZE, VectorMode.REQUANTIZE]
    params = {"config": cfg.to_dict(), "seed": 17, "count": 60, "modes": modes}
    run_cocotb(VectorEngine(cfg), test_vector.__name__, testcase="equals_golden", params=params)


def test_windows_take_a_cycle_an_entry_and_no_result_longer():
    plain, cfg = machine(6, 3, 64), machine(6, 3, 64, pooling={"window": 3})
    assert VectorEngine(cfg).latency == VectorEngine(plain).latency
    run(cfg)
