# SPDX-License-Identifier: Apache-2.0
"""Binary32 values, second operands and slopes in VECTOR, together with all else that it does."""

import pytest

from kiwicha.hw.vector.modes import vector_modes
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.isa import VectorMode

from ..support.bench import run_cocotb
from ..support.slow import slow
from . import test_vector
from .shift_cases import TRAINING

DYNAMIC = (VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL)


@slow("8-3-256-random-more1", "8-8-64-always-more2", "8-2-64-bursty-more3", "8-3-128-random-more6")
@pytest.mark.parametrize("columns,lanes,width,offer,more", [
    (4, 1, 64, "always", {}),
    (8, 3, 256, "random", {"pipeline": (), "requantize_multiplier_width": 18}),
    (8, 8, 64, "always", {"real": {"bytes": 512}}),
    (8, 2, 64, "bursty", {
        "blocks": {"channels": 8}, "statistics": {"elements": 1024}, "functions": {"tables": 2},
        "residual": {"tables": 2}, "pooling": {"window": 3},
    }),
    (6, 3, 64, "random", {
        **TRAINING, "functions": {"tables": 2}, "pooling": {"window": 3}, "pipeline": (),
    }),
    (5, 1, 64, "always", {"real": {"bytes": 512, "functions": True}}),
    (8, 3, 128, "random", {
        "real": {"bytes": 2048, "functions": True}, "functions": {"tables": 2},
        "pooling": {"window": 3}, "requantize_multiplier_width": 18,
    }),
])
def test_real_values(columns, lanes, width, offer, more):
    more = {"real": {"bytes": 2048}, **more}
    cfg = test_vector.machine(columns, lanes, width, dynamic=True, **more)
    modes = [*vector_modes(cfg), *DYNAMIC, *DYNAMIC]
    params = {"config": cfg.to_dict(), "seed": 9, "count": 25, "modes": modes, "offer": offer}
    run_cocotb(
        VectorEngine(cfg), test_vector.__name__, testcase="equals_golden", params=params
    )
