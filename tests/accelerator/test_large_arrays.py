# SPDX-License-Identifier: Apache-2.0
"""Arrays with more than 64 columns or rows: a fully connected layer, exact to ONNX Runtime.

The other side is a single one, so that the simulation is built in seconds.
"""

from typing import Any

import pytest

from kiwicha.bench.sparse import pruned_product
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.inference import run_model

from ..support.bench import unit_simulator
from ..support.slow import slow

SMALL = AcceleratorConfig(
    name="long-side", axi_data_width=64, activation_bytes=1024, weight_bytes=1024,
    accumulator_depth=16, output_bytes=1024, parameter_channels=256, requantize_lanes=1,
    sparse={"entries": 2}, queue_words=16,
)
#: A machine, inputs and outputs: more than the array is long, so that the last tile is partial.
CASES: dict[str, tuple[dict[str, Any], int, int]] = {
    "columns": ({"rows": 1, "columns": 128, "sparse": {"formats": ("csc5",)}}, 8, 132),
    "rows": ({"rows": 128, "columns": 1}, 132, 3),
}


@slow("columns")
@pytest.mark.parametrize("side", CASES)
def test_a_long_side(side: str) -> None:
    machine, inputs, outputs = CASES[side]
    config = SMALL.replace(**machine)
    model = pruned_product(inputs, 0.1, 1, outputs)
    report = run_model(model, config, simulator=unit_simulator().name).report
    assert report.exact
    (layer,) = report.layers
    assert layer.weight_formats == (config.sparse.formats or ("dense",))
