# SPDX-License-Identifier: Apache-2.0
"""The table of updates: bytes and cycles are counted, and as predicted."""

import pytest

from kiwicha.bench.update import updates
from kiwicha.cost.update import update_beats, update_cycles
from kiwicha.machine.optimizer import OPTIMIZERS
from kiwicha.machine.presets import preset


def test_a_small_machine():
    table = updates(preset("tiny"), count=1000, progress=lambda _: None)
    assert [figures["optimizer"] for figures in table.values] == list(OPTIMIZERS)
    for figures in table.values:
        momentum, root = OPTIMIZERS[figures["optimizer"]]
        state = 4000 * (1 + momentum + root)
        # Each value crosses the bus twice, int8 gradients and weights once.
        assert figures["bytes"] == 2 * state + 2 * 1000
        assert figures["host bytes"] == 2 * state + 4 * 1000 + 1000
        assert abs(figures["cycles"] - figures["predicted"]) < 0.1 * figures["cycles"] + 60
        assert figures["host cycles"] > figures["cycles"]


def test_too_many_weights():
    with pytest.raises(ValueError, match="count is 16385; legal: 1 to 16384"):
        updates(preset("tiny"), count=16385)


def test_cycles_are_those_of_what_is_slowest():
    config = preset("default").replace(update={"lanes": 1})
    fields = {"count": 100, "momentum": 1, "root": 1}
    assert update_beats(config, fields) == (75 + 7, 75 + 7)
    assert update_cycles(config, fields) == 100
    wider = config.replace(update={"lanes": 4})
    assert update_cycles(wider, fields) == 82
    assert update_beats(wider, fields | {"wide": 1}) == (100, 82)
    assert update_beats(wider, {"count": 100, "accumulate": 1}) == (32, 25)
