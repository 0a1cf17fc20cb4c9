# SPDX-License-Identifier: Apache-2.0
"""The table of copies: each is equal to ONNX Runtime, and as fast as its figures say."""

from kiwicha.bench.moves import moves
from kiwicha.machine.presets import preset


def test_a_small_machine():
    config = preset("tiny").replace(transposer=True)
    table = moves(config, side=6, channels=8, progress=lambda _: None)
    assert len(table.rows) == len(table.values) == 10
    for figures in table.values:
        assert figures["bytes"] == 2 * 36 * 8 if "Concat" in figures["copy"] else figures["bytes"]
        assert 0 < figures["rate"] == figures["bytes"] / figures["cycles"]
        assert abs(figures["cycles"] - figures["predicted"]) < 0.1 * figures["cycles"] + 60
