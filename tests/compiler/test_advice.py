# SPDX-License-Identifier: Apache-2.0
"""Advice on layers that use less than half of the array, from numbers of known layers."""

import re

import pytest

import kiwicha
from kiwicha.cost.advice import Work, advice
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

CONFIG = AcceleratorConfig(rows=16, columns=16, requantize_lanes=4, axi_data_width=128)


def busy(**cycles: int) -> dict[str, int]:
    return {"fill": 0, "read": 0, "requantize": 0, "special": 0, "write": 0} | cycles


@pytest.mark.parametrize(
    ("work", "cycles", "said"),
    [
        (Work(busy(fill=1000), 9 * 16 * 500, 9, 16, 16), 1100,
         "16 groups of K = 9 and 1 output each fill 28.1% of 16x16 multipliers: the channels of a "
         "group share a column with zeros"),
        (Work(busy(fill=1000), 9 * 8 * 1000, 9, 8), 1100,
         "K = 9 and 8 outputs fill 28.1% of 16x16 multipliers; `rows = 9` and `columns = 8` would "
         "do as well"),
        (Work(busy(fill=1000), 1000, 40, 16), 1100,
         "K = 40 and 16 outputs fill 0.4% of 16x16 multipliers"),
        (Work(busy(fill=400, requantize=1000), 100_000, 64, 64), 1000,
         "bound by requantize to 39.1%; `requantize_lanes = 10` would allow 97.7%"),
        (Work(busy(fill=400, read=1000, write=10), 100_000, 64, 64), 1000,
         "bound by read to 39.1%; `axi_data_width = 256` would allow 78.1%"),
        (Work(busy(fill=400, read=900, write=1000), 100_000, 64, 64), 1000,
         "bound by write to 39.1%; `axi_data_width = 256` would allow 78.1%"),
        (Work(busy(fill=400, special=1000), 100_000, 64, 64), 1000,
         "bound by special to 39.1%; `special.lanes = 1` would allow 39.1%"),
        (Work(busy(fill=16, read=300), 64 * 64, 64, 64), 310,
         "reads every weight to use it once: a larger batch uses it once for each sample"),
        (Work(busy(fill=16, read=100), 64 * 64, 64, 64), 1310,
         "takes 1,310 cycles, of which its busiest engine (read) works 100: too little work to "
         "hide loading and draining; a larger batch spreads them"),
        (Work(busy(fill=1000), 128_000, 64, 64), 1000, ""),  # half
        (Work(busy(special=1000), 0), 5000, ""),  # no multiply-accumulates
    ],
)
def test_a_sentence(work, cycles, said):
    config = CONFIG
    if work.busy["special"]:
        config = CONFIG.replace(special={"lanes": 1})
        said = said.replace("lanes = 1` would allow 39.1%", "lanes = 2` would allow 78.1%")
    assert advice(work, config, cycles) == said


def test_no_more_lanes_than_columns():
    work = Work(busy(fill=10, requantize=1000), 100_000, 64, 64)
    config = CONFIG.replace(requantize_lanes=16)
    assert advice(work, config, 1000).endswith("; every column has a lane")
    widest = CONFIG.replace(axi_data_width=256)
    work = Work(busy(read=1000), 100_000, 64, 64)
    assert advice(work, widest, 1000).endswith("; the memory port is as wide as it can be")


def test_what_lanes_would_allow_is_allowed():
    """The bound that the advice names is had by the machine that it names."""
    # A pooling on the way out depends on the lanes, too.
    machine = preset("default").replace(requantize_lanes=1, pooling={"window": 0})
    before = kiwicha.compile_model("lenet5", machine)
    by = [layer for layer in before.layers if layer.bound_by == "requantize" and layer.advice]
    assert by, "no layer is bound by requantizing: the test shows nothing"
    for layer in by:
        found = re.search(r"`requantize_lanes = (\d+)` would allow ([\d.]+)%", layer.advice)
        assert found, layer.advice
        after = kiwicha.compile_model(
            "lenet5", before.machine.replace(requantize_lanes=int(found[1]))
        )
        [same] = [each for each in after.layers if each.name == layer.name]
        # With more lanes another form of the layer may be better still.
        assert 100 * same.bound > 0.98 * float(found[2])
