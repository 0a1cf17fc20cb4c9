# SPDX-License-Identifier: Apache-2.0
"""Which fields of VECTOR a machine refuses, and which it does not, whatever else it has."""

import pytest

from kiwicha.golden.drain_check import illegal_field
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import window_field
from kiwicha.machine.isa import VECTOR, VectorMode

CONFIG = AcceleratorConfig(
    columns=8, requantize_lanes=2, accumulator_depth=64, output_bytes=1024, parameter_channels=64,
    dynamic=True, blocks={"channels": 8}, statistics={"elements": 256},
)
BASE = dict.fromkeys((name for name, _ in VECTOR), 0) | {
    "low": 0, "high": 255, "channels": 13, "tiles": 1, "tile_entries": 20, "pixels": 3, "lines": 2,
}


@pytest.mark.parametrize(
    "fields",
    [{"channels": 8}, {"channels": 17}, {"mode": 5}, {"slot": 1}, {"settle": 1}, {"scales": 4},
     {"begin": 1}, {"only": 1}, {"channel": 1}, {"statistics": 1, "mode": VectorMode.MEASURE},
     {"channel": 13, "statistics": 1, "only": 1}],
)
def test_illegal(fields):
    name = next(iter(fields))
    assert illegal_field(CONFIG, BASE | fields) == f"{name} is {fields[name]}"


@pytest.mark.parametrize("window,fields", [
    ({"rows": 0}, {}), ({"columns": 4}, {}), ({}, {"tiles": 1}), ({}, {"statistics": 1}),
    ({}, {"mode": VectorMode.RAW}),
])
def test_windows_that_are_illegal(window, fields):
    shape = {"rows": 2, "columns": 2, "pixel_entries": 2, "line_entries": 4} | window
    asked = {"scales": window_field(**shape), "tiles": 0, "channels": 7, "tile_entries": 2} | fields
    refusal = f"scales is {asked['scales']}"
    assert illegal_field(CONFIG.replace(pooling={"window": 3}), BASE | asked) == refusal
    assert illegal_field(CONFIG, BASE | asked) == refusal
