# SPDX-License-Identifier: Apache-2.0
"""What dynamic quantization costs, measured on a small machine: whole figures, and the bytes."""

import pytest

from kiwicha.bench.dynamic import WAYS, dynamic
from kiwicha.bench.table import Table
from kiwicha.machine.presets import preset

SIZE = 16


@pytest.fixture(scope="module")
def table() -> Table:
    return dynamic(preset("tiny"), sizes=(SIZE,), progress=lambda _: None)


def test_every_way_is_there(table: Table) -> None:
    assert [found["way"] for found in table.values] == list(WAYS)
    assert all(len(row) == len(table.columns) for row in table.rows)
    static = table.values[0]
    assert static["bytes_ratio"] == static["cycles_ratio"] == 1
    for found in table.values:
        assert found["bytes_ratio"] == found["bytes"] / static["bytes"]
        assert found["cycles_ratio"] == found["cycles"] / static["cycles"]
        assert found["predicted"] == pytest.approx(found["cycles"], rel=0.2)


def test_bytes_are_those_of_the_ways(table: Table) -> None:
    ways = {found["way"]: found for found in table.values}
    # The host reads four bytes of each sum and writes one; the machine writes all four.
    host = ways["host"]
    assert host["bytes"] - host["machine_bytes"] == 5 * SIZE**2
    assert host["machine_bytes"] >= max(4 * SIZE**2, ways["two passes"]["bytes"])
    # A scale for a block of 16 channels of a pixel.
    blocks = ways["blocks"]
    assert blocks["bytes"] - ways["static, in blocks"]["bytes"] == SIZE**2 // 16
    assert blocks["cycles"] < ways["two passes"]["cycles"]
